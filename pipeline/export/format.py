"""A form in which a file goes into a firmware or an app: the base class of all formats."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, TypeAlias

from pipeline.core.family import Chosen
from pipeline.core.settings import Settings
from pipeline.data.contract import Contract
from pipeline.tflite.model import Model
from pipeline.verify.model_facts import ModelFacts


class Format(Settings):
    """A bundle of files that a build takes.

    A new one is a file with its settings and `files`, and a line in the registry::

        class Raw(Format):
            \"\"\"The file as it is.\"\"\"

            format: Literal["raw"]

            def files(self, model, contract, facts):
                return {"model.tflite": model.content}
    """

    @abstractmethod
    def files(self, model: Model, contract: Contract | None, facts: ModelFacts) -> Mapping[str, bytes]:
        """The content of each file, by its path inside the bundle's folder; the same for the same arguments.

        contract  the preprocessing that the file carries; None when it carries none
        facts     what the bytes say, and the arena that was measured

        Raises InputError for a file that can't be put into this form.
        """


FORMATS: Chosen[Format] = Chosen("FORMATS", "format")
AnyFormat: TypeAlias = Annotated[Format, FORMATS]
