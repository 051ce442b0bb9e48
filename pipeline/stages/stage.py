"""A stage of the pipeline: the base class of all stages, and what one is given to run."""

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


@dataclass(frozen=True)
class Artifact:
    """What a finished stage left, as later stages see it.

    path       its directory in the store
    made_from  the artifact that it was made from; None for the first
    key        its key in the store
    """

    name: str
    kind: Kind
    path: Path
    made_from: "Artifact | None" = None
    key: str = ""

    @property
    def keras(self) -> Path:
        """The Keras model, for one that has it."""
        return self.path / KERAS

    @property
    def tflite(self) -> Path:
        """The .tflite file, for one that has it."""
        return self.path / TFLITE


class Made(NamedTuple):
    """A result in the store. cached: it was there, or another process made it meanwhile."""

    entry: Entry
    cached: bool


class Executor(Protocol):
    """Makes the results of stages and puts them into the store; one class for each place where stages can run.

    A new one needs `make` alone, for example with a queue of jobs::

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
        """The result of a stage, from the store where it has it. Raises what the stage raises.

        identity  what the key is the digest of
        upstream  the artifacts that it reads, by the names that the stage calls them
        """


@dataclass(frozen=True)
class Inputs:
    """What a stage is given to run.

    upstream  the artifacts that it reads, by the names of the stages that made them
    resume    a directory that outlives a crash; what it holds is this stage's own
    report    tells the user how far the stage is
    executor  makes other stages' results, for a stage that tries several
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
        """What the stage's result is made from: the first of what it reads."""
        return next(iter(self.upstream.values()))


class Stage(KeyedSettings):
    """A stage of the pipeline: reads artifacts of one kind, fills an empty directory, and touches nothing else."""

    takes: ClassVar[Kind]
    gives: ClassVar[Kind]
    starts: ClassVar[bool] = False  # from the config's model, where `from` is left out
    scores: ClassVar[bool] = False  # its result holds figures of how well the data's task is done
    libraries: ClassVar[tuple[str, ...]] = ()  # distributions whose version decides the output
    anonymous = frozenset({"name", "from"})

    name: str | None = Field(default=None, pattern=NAME, max_length=60)
    """Name of this stage in the run; the stage's own name when it is left out."""

    from_: str | None = Field(default=None, alias="from")
    """Name of the stage above whose result this one reads; the nearest one above that fits when it is left out."""

    _aimed: Mapping[str, str] = PrivateAttr(default_factory=dict)  # settings that a target gave -> its name

    def aimed_at(self, target: "Target | None") -> Self:
        """The same stage, with what its settings leave out taken from the target of the run."""
        return self

    @property
    def aimed(self) -> Mapping[str, str]:
        """Settings that a target gave, each with the target's name."""
        return self._aimed

    @property
    def label(self) -> str:
        """The name that other stages, checks and --set use."""
        return self.name or self.kind

    def network(self, model: Model) -> Model | None:
        """The network that it starts from, given the config's; None for a stage that reads one above instead."""
        return model if self.takes == "nothing" or (self.starts and self.from_ is None) else None

    def reads(self) -> Sequence[str] | None:
        """Names of the stages it reads; None leaves it to `from`."""
        return None

    def reads_beside(self) -> Mapping[str, str]:
        """What it reads beside that and its result is not made from: setting -> name of a stage."""
        return {}

    def unfit(self, task: Task) -> Iterator[PlacedFault]:
        """The settings that are not for such a task: the place of each below this stage, and what is wrong."""
        yield from ()

    @abstractmethod
    def run(self, inputs: Inputs, work: Path) -> None:
        """Fill the empty directory `work`. Raises StageError or InputError with what the user can do."""


STAGES: Chosen[Stage] = Chosen("STAGES", "stage")
AnyStage: TypeAlias = Annotated[Stage, STAGES]
