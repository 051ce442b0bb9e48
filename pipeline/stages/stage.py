"""The base class of all stages, what a stage gets to run (`Inputs`), and what runs it (`Executor`)."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Protocol, TypeAlias

from pydantic import Field, PrivateAttr
from typing_extensions import Self

if TYPE_CHECKING:
    from pipeline.verify.targets.target import Target
from pipeline.core.errors import PlacedFault
from pipeline.core.family import Chosen
from pipeline.core.progress import Progress
from pipeline.core.settings import NAME, KeyedSettings
from pipeline.core.store import Entry
from pipeline.data.source import Data
from pipeline.data.tasks.task import Task
from pipeline.keras.models.model import Model

Kind = Literal["nothing", "keras", "tflite", "checks"]

KERAS, TFLITE = "model.h5", "model.tflite"  # the files of an artifact
MEASURED, DECISIONS = "measured.json", "decisions.npz"  # the files of what a verify stage found


@dataclass(frozen=True)
class Artifact:
    """The result of a finished stage, as later stages see it.

    name       label of the stage
    kind       what the result is: a Keras model, a .tflite file, or the figures of a verify stage
    path       its directory in the store
    made_from  the artifact that it was made from; None for the first stage
    key        its key in the store
    """

    name: str
    kind: Kind
    path: Path
    made_from: "Artifact | None" = None
    key: str = ""

    @property
    def keras(self) -> Path:
        """Path of the Keras model; the file exists only if the artifact has one."""
        return self.path / KERAS

    @property
    def tflite(self) -> Path:
        """Path of the .tflite file; it exists only if the artifact has one."""
        return self.path / TFLITE


class Made(NamedTuple):
    """A result in the store. `cached`: it was already there, or another process made it in the meantime."""

    entry: Entry
    cached: bool


class Executor(Protocol):
    """Run stages and put their results into the store. Write one class for each place where stages can run.

    A class needs only `make`. For example, with a job queue::

        class Queue:
            def make(self, stage, identity, upstream, report):
                def fill(work):
                    self.jobs.run(stage, upstream, work)

                return Made(*self.store.make(stage.kind, identity, fill))
    """

    def make(
        self,
        stage: "Stage",
        identity: Mapping[str, Any],
        upstream: Mapping[str, Artifact],
        report: Callable[[Progress], None],
    ) -> Made:
        """Return the result of a stage, from the store if it is there. Raises whatever the stage raises.

        identity  everything that decides the result; the key is its digest
        upstream  the artifacts that the stage reads, by the names that the stage uses for them
        report    receives the progress of the stage
        """


@dataclass(frozen=True)
class Inputs:
    """Everything that a stage gets to run.

    data      the config's data source
    model     the config's model
    seed      the config's seed
    upstream  the artifacts that the stage reads, by the names of the stages that made them
    resume    a directory for intermediate state that survives a crash; no other stage uses it
    report    shows the user how far the stage is
    executor  runs other stages, for a stage that tries several of them
    """

    data: Data
    model: Model
    seed: int
    upstream: Mapping[str, Artifact]
    resume: Path
    report: Callable[[Progress], None]
    executor: Executor

    @cached_property
    def source(self) -> Artifact:
        """The artifact that the result is made from: the first one that the stage reads."""
        return next(iter(self.upstream.values()))


class Stage(KeyedSettings):
    """A stage of the pipeline: it reads artifacts of one kind, fills an empty directory, and changes nothing else.

    A new stage sets `takes` and `gives`, has a `stage` setting with its name, and implements `run`::

        class Copy(Stage):
            \"\"\"Pass the model on unchanged.\"\"\"

            takes = "keras"
            gives = "keras"
            stage: Literal["copy"]

            def run(self, inputs: Inputs, work: Path) -> None:
                shutil.copyfile(inputs.source.keras, work / KERAS)
                write_facts(work)
    """

    takes: ClassVar[Kind]  # kind of artifact that it reads
    gives: ClassVar[Kind]  # kind of artifact that it makes
    starts: ClassVar[bool] = False  # whether it starts from the config's model when `from` is left out
    scores: ClassVar[bool] = False  # whether its result contains the task's metrics, so that scoring code is in its key
    libraries: ClassVar[tuple[str, ...]] = ()  # distributions whose version affects the result; part of the key
    anonymous = frozenset({"name", "from"})

    name: str | None = Field(default=None, pattern=NAME, max_length=60)
    """Name of this stage in the run. Default: the value of `stage`."""

    from_: str | None = Field(default=None, alias="from")
    """Name of the stage above whose result this stage reads. Default: the nearest stage above with a fitting result."""

    _aimed: Mapping[str, str] = PrivateAttr(default_factory=dict)  # setting from a target -> the target's name

    def aimed_at(self, target: "Target | None") -> Self:
        """Return this stage with settings that were left out taken from the target of the run."""
        return self

    @property
    def aimed(self) -> Mapping[str, str]:
        """Settings whose value came from a target, with the target's name."""
        return self._aimed

    @property
    def label(self) -> str:
        """The name by which other stages, checks and `--set` refer to this stage."""
        return self.name or self.kind

    def network(self, model: Model) -> Model | None:
        """The model that the stage starts from, given the config's; None if it reads the result of a stage instead."""
        return model if self.takes == "nothing" or (self.starts and self.from_ is None) else None

    def networks(self) -> Iterator[tuple[str, Model]]:
        """Yield the settings that hold a model of the stage's own, such as a teacher, with the model."""
        held = ((name, getattr(self, name)) for name in type(self).model_fields)
        yield from ((name, value) for name, value in held if isinstance(value, Model))

    def reads(self) -> Sequence[str] | None:
        """Names of the stages that it reads; None if `from` decides."""
        return None

    def reads_beside(self) -> Mapping[str, str]:
        """Further stages that it reads but does not build its result from (a teacher): setting -> name of the stage."""
        return {}

    def unfit(self, task: Task) -> Iterator[PlacedFault]:
        """Yield the settings that can't be used for this task: each with its place in the stage and what is wrong."""
        yield from ()

    @abstractmethod
    def run(self, inputs: Inputs, work: Path) -> None:
        """Write the result into the empty directory `work`. Raises StageError or InputError, which say what to do."""


STAGES: Chosen[Stage] = Chosen("STAGES", "stage")
AnyStage: TypeAlias = Annotated[Stage, STAGES]
