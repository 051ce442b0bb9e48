"""The base class of all models."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, TypeAlias

from pipeline.core.errors import Fault, InputError, PlacedFault
from pipeline.core.family import Chosen
from pipeline.core.settings import KeyedSettings
from pipeline.data.spec import Spec, Whole
from pipeline.data.tasks.task import Task

if TYPE_CHECKING:
    import tf_keras


class Model(KeyedSettings):
    """A model: its settings, and how to build the network. `refuse` tells early which data it does not take.

    ::

        class Linear(Model):
            \"\"\"One dense layer.\"\"\"

            source: Literal["linear"]

            def build(self, spec: Spec) -> "tf_keras.Model":
                import tf_keras

                inputs = tf_keras.Input(spec.shape, name="features")
                return tf_keras.Model(inputs, head(inputs, spec), name="linear")
    """

    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression")  # names of the tasks that it can learn

    @abstractmethod
    def build(self, spec: Spec) -> "tf_keras.Model":
        """Build the network, with inputs (n, *spec.shape) and outputs (n, *spec.outputs).

        Raises InputError if the network does not fit the data.
        """

    def whole(self) -> Whole | None:
        """Return the whole numbers that the network's input takes as they are, such as ids; None for real numbers.

        It must be known without TensorFlow. Data are then read without scale and offset, and ids as int32.
        """
        return None

    def refuse(self, spec: Spec) -> None:
        """Raise InputError for what can be known without TensorFlow: how the network does not fit the data."""

    def prepare(self) -> None:
        """Make this process ready for networks that were built from this model, wherever they are loaded from.

        Raises InputError if that fails.
        """

    def layer_names(self) -> "frozenset[str] | None":
        """Return the names of the layers; None if they are not known without TensorFlow."""
        return None

    def misfit(self, rule: str, spec: Spec, do: str) -> InputError:
        """The error of `refuse` for data whose shape the network does not take. rule: it follows the kind's name."""
        return InputError(Fault(f"{self.kind} {rule}", field="model", received=str(spec.shape), do=do))

    def unfit(self, task: Task) -> Iterator[PlacedFault]:
        """Yield the settings that can't be used for this task: each with its place in the model and what is wrong."""
        if task.name not in self.tasks:
            rule = f"{self.kind} is for {' and '.join(self.tasks)}"
            yield ("source",), Fault(rule, received=f"data for {task.name}", do=task.models)


MODELS: Chosen[Model] = Chosen("MODELS", "source")
AnyModel: TypeAlias = Annotated[Model, MODELS]
ModelFile: TypeAlias = Annotated[Model, Chosen("MODELS", "source", only=("file",))]  # `{source: file, path: ...}`
