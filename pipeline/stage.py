"""What the parts of a config are: the base classes of stages, data sources and models.

The config is the part: one frozen pydantic class holds the settings, with their description, unit and default, and the
method that does the work. The command line, the JSON Schema, the reference and the cache key all follow from the class.
"""

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SerializerFunctionWrapHandler, model_serializer
from typing_extensions import Self

from pipeline import code
from pipeline.contract import Contract
from pipeline.errors import Fault
from pipeline.task import TASKS, Task, TaskName

if TYPE_CHECKING:
    import tf_keras

    from pipeline.targets import Target

Kind = Literal["nothing", "keras", "tflite", "checks"]
TAGS = ("stage", "source", "check", "decay")  # the settings that choose a class
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"  # of what becomes a file or a folder
SPLITS = ("train", "validation", "calibration", "test")


class Strict(BaseModel):
    """Base of everything that a user writes in YAML: frozen, unknown keys refused, no type coercion, finite numbers.

    A validator that looks at several settings raises ``ValueError("name: rule")``, with the dotted name of the setting
    to change, and the fault is told at its place.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    def settings(self) -> dict[str, Any]:
        """The resolved settings as JSON values, under the names that the YAML file uses."""
        return self.model_dump(mode="json", by_alias=True)

    def unfit(self, task: Task) -> Iterator[tuple[tuple[str | int, ...], Fault]]:
        """The settings that are not for such a task: the place of each below this part, and what is wrong."""
        yield from ()

    @model_serializer(mode="wrap")
    def _tags_first(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """In the order in which people write settings: what it is, its name, then the rest."""
        settings = handler(self)
        first = (key for key in (*TAGS, "name", "from") if key in settings)
        return {key: settings[key] for key in dict.fromkeys((*first, *settings))}


class Part(Strict):
    """A part that decides the output: its identity goes into cache keys."""

    anonymous: ClassVar[frozenset[str]] = frozenset()  # settings that decide nothing about the output: names, paths

    def identity(self) -> dict[str, Any]:
        """What the output depends on: settings, the content of files, the code."""
        settings = {key: value for key, value in self.settings().items() if key not in self.anonymous}
        return {"settings": settings, "code": code.digest(type(self).__module__)}


@dataclass(frozen=True)
class Spec:
    """What one example is, after preprocessing.

    shape   without the batch dimension
    labels  names of the classes in label order, or of the numbers that are to be found; empty for anomalies
    task    what is to be learnt
    """

    shape: tuple[int, ...]
    labels: tuple[str, ...]
    task: Task = TASKS["classification"]

    @property
    def outputs(self) -> tuple[int, ...]:
        """Shape of a model's output for one example."""
        return self.task.outputs(self)


class Examples(Protocol):
    """One split of the data, read by position, so that no more than a batch need be in memory."""

    def __len__(self) -> int: ...

    def batch(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[Any]]:
        """The preprocessed examples (n, \\*shape) at those positions, and what is known of them.

        That is int64 labels (n,), float64 values (n, M) for regression, or int64 (n,) with 1 for an anomaly.
        """

    def raw(self, indices: NDArray[np.int64]) -> NDArray[Any]:
        """The examples (n, \\*shape) before the preprocessing, in the type that they are stored in."""

    @property
    def sha256(self) -> str:
        """Digest of the examples and labels in their order."""


class Data(Part):
    """A data source. Everything here works without TensorFlow."""

    @abstractmethod
    def fingerprint(self) -> str:
        """sha256 of the content that is read; the path does not count. InputError when it can't be read."""

    @abstractmethod
    def spec(self) -> Spec:
        """What one example is. InputError when the content is not usable."""

    @abstractmethod
    def split(self, name: str) -> Examples:
        """One of SPLITS; no example is in two of them."""

    @abstractmethod
    def contract(self) -> Contract:
        """How raw values become what the model is trained on."""

    def identity(self) -> dict[str, Any]:
        return super().identity() | {"content": self.fingerprint()}


class Model(Part):
    """A network to train."""

    tasks: ClassVar[tuple[TaskName, ...]] = ("classification", "regression")  # that it can learn

    @abstractmethod
    def build(self, spec: Spec) -> "tf_keras.Model":
        """The network for such examples, with outputs of `spec.outputs`. InputError when it doesn't fit the data."""

    def unfit(self, task: Task) -> Iterator[tuple[tuple[str | int, ...], Fault]]:
        if task.name not in self.tasks:
            rule = f"{getattr(self, 'source')} is for {' and '.join(self.tasks)}"  # noqa: B009 (of each subclass)
            yield ("source",), Fault(rule, received=f"data for {task.name}", do=task.models)


@dataclass(frozen=True)
class Artifact:
    """What a finished stage left, as later stages see it.

    path   its directory in the store
    made_from  the artifact that it was made from; None for the first
    """

    name: str
    kind: Kind
    path: Path
    made_from: "Artifact | None" = None


@dataclass(frozen=True)
class Progress:
    """How far a stage is: `done` of `total` units of `what`, with the figures of the last one."""

    what: str
    done: int
    total: int
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Inputs:
    """What a stage is given to run.

    upstream  the artifacts that it reads, by the names of the stages that made them
    resume    a directory that outlives a crash; what it holds is this stage's own
    report    tells the user how far the stage is
    """

    data: Data
    model: Model
    seed: int
    upstream: Mapping[str, Artifact]
    resume: Path
    report: Callable[[Progress], None]

    @cached_property
    def source(self) -> Artifact:
        """What the stage's result is made from: the first of what it reads."""
        return next(iter(self.upstream.values()))


class Stage(Part):
    """A stage of the pipeline: reads artifacts of one kind, fills an empty directory, and touches nothing else."""

    takes: ClassVar[Kind]
    gives: ClassVar[Kind]
    starts: ClassVar[bool] = False  # from the config's model, where `from` is left out
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
        return self.name or str(getattr(self, "stage"))  # noqa: B009 (the tag is a field of each subclass)

    def network(self, model: Model) -> Model | None:
        """The network that it starts from, given the config's; None for a stage that reads one above instead."""
        return model if self.takes == "nothing" or (self.starts and self.from_ is None) else None

    def reads(self) -> Sequence[str] | None:
        """Names of the stages it reads; None leaves it to `from`."""
        return None

    def reads_beside(self) -> Mapping[str, str]:
        """What it reads beside that and its result is not made from: setting -> name of a stage."""
        return {}

    @abstractmethod
    def run(self, inputs: Inputs, work: Path) -> None:
        """Fill the empty directory `work`. Raises StageError or InputError with what the user can do."""


def array_sha256(*arrays: NDArray[Any]) -> str:
    """sha256 over dtype, shape and bytes of arrays in their order."""
    total = hashlib.sha256()
    for array in arrays:
        total.update(f"{array.dtype.str}{array.shape}".encode())
        total.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return total.hexdigest()


def example_digest(example: NDArray[Any]) -> bytes:
    """16 bytes that two examples share only when they are equal, for finding an example again in another split."""
    return hashlib.blake2b(np.ascontiguousarray(example).tobytes(), digest_size=16).digest()
