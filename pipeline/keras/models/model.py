"""A network to train: the base class of all models."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, TypeAlias

from pipeline.core.errors import Fault
from pipeline.data.tasks.task import Task

if TYPE_CHECKING:
    import tf_keras

from pipeline.core.errors import PlacedFault
from pipeline.core.family import Chosen
from pipeline.core.settings import KeyedSettings
from pipeline.data.spec import Spec


class Model(KeyedSettings):
    """A network to train."""

    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression")  # that it can learn

    @abstractmethod
    def build(self, spec: Spec) -> "tf_keras.Model":
        """The network for such examples, with outputs of `spec.outputs`. InputError when it doesn't fit the data."""

    def unfit(self, task: Task) -> Iterator[PlacedFault]:
        """The settings that are not for such a task: the place of each below this part, and what is wrong."""
        if task.name not in self.tasks:
            rule = f"{self.kind} is for {' and '.join(self.tasks)}"
            yield ("source",), Fault(rule, received=f"data for {task.name}", do=task.models)


MODELS: Chosen[Model] = Chosen("MODELS", "source")
AnyModel: TypeAlias = Annotated[Model, MODELS]
ModelFile: TypeAlias = Annotated[Model, Chosen("MODELS", "source", only=("file",))]  # `{source: file, path: ...}`
