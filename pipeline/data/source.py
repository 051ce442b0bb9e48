"""The base class of data sources, and the interface of one split of the data."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import PrivateAttr
from typing_extensions import Self

from pipeline.core import code_digest
from pipeline.core.family import Chosen
from pipeline.core.settings import KeyedSettings
from pipeline.data.spec import Spec, Whole
from pipeline.data.tasks.task import TASKS

if TYPE_CHECKING:
    from pipeline.data.contract import Contract

SPLITS = ("train", "validation", "calibration", "test")


class Examples(Protocol):
    """One split of the data. Examples are read by position, so only one batch at a time has to be in memory."""

    def __len__(self) -> int: ...

    def batch(self, indices: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the preprocessed examples (n, \\*shape) at the given positions, and their ground truth.

        Examples are float32, or int32 if they are ids (`Spec.ids`).

        The ground truth is int64 labels (n,) for classification, float64 values (n, M) for regression, and int64 (n,)
        with 0 for normal and 1 for anomalous examples for anomaly detection.
        """

    def raw(self, indices: NDArray[np.int64]) -> NDArray[Any]:
        """Return the examples (n, \\*shape) before preprocessing, in their stored dtype."""

    @property
    def sha256(self) -> str:
        """sha256 of all examples and labels, in order."""


class Network(Protocol):
    """What data need to know of the model that they go into."""

    def whole(self) -> Whole | None:
        """Return the whole numbers that its input takes; None for real numbers."""


def spread(length: int, most: int) -> NDArray[np.int64]:
    """Return at most `most` positions, int64, spread evenly over 0 to length - 1, in ascending order."""
    return np.unique(np.linspace(0, length - 1, min(length, most)).astype(np.int64))


class Data(KeyedSettings):
    """Base class of data sources. A source must not import TensorFlow.

    Sources that fit in memory subclass `pipeline.data.sources.arrays.ArrayData`. Others subclass this class, and
    return examples that are read in batches::

        class Recordings(Data):
            \"\"\"Spectrograms (49, 10) from an HDF5 file.\"\"\"

            source: Literal["recordings"]
            path: Annotated[Path, Field(strict=False)]
            \"\"\"The HDF5 file.\"\"\"

            anonymous: ClassVar[frozenset[str]] = frozenset({"source", "path"})

            def fingerprint(self) -> str:
                return file_sha256(self.path)

            def spec(self) -> Spec:
                return Spec((49, 10), ("yes", "no"))

            def split(self, name: str) -> Examples:
                return Hdf5Examples(self.path, name)  # a class of your own with the methods of `Examples`

            def contract(self) -> Contract:
                return Contract(
                    task="classification", raw_dtype="int16", range=(-32768, 32767), scale=1 / 32768, offset=0.0,
                    shape=(49, 10), labels=("yes", "no"),
                )
    """

    _whole: Any = PrivateAttr(default=None)  # what `feeding` was given

    def feeding(self, whole: "Whole | Network | None") -> Self:
        """Return the same data for a network whose input takes these whole numbers; None stands for real numbers."""
        fed = self.model_copy()
        fed._whole = whole
        return fed

    @property
    def whole(self) -> Whole | None:
        """The whole numbers that the network takes, which a source has to provide as they are."""
        given: Whole | Network | None = self._whole
        if given is not None and not isinstance(given, Whole):
            self._whole = given = given.whole()
        return given

    @abstractmethod
    def fingerprint(self) -> str:
        """Return the sha256 of the content, regardless of its path. Raises InputError if it can't be read."""

    @abstractmethod
    def spec(self) -> Spec:
        """Return shape, labels and task of the data. Raises InputError if the content is not usable."""

    @abstractmethod
    def split(self, name: str) -> Examples:
        """Return a split by its name in SPLITS. No example may be in two splits."""

    def positions(self, split: str) -> tuple[str, NDArray[np.int64]]:
        """Return where the examples of a split are in what the source reads: the name of the source's own split or
        `files`, and the position (N,) of each example in that."""
        return split, np.arange(len(self.split(split)))

    @abstractmethod
    def contract(self) -> "Contract":
        """Return the preprocessing contract: how raw values become those that the model is trained on."""

    def identity(self) -> dict[str, Any]:
        task = code_digest.digest(TASKS.module(self.spec().task.name))
        found = super().identity() | {"content": self.fingerprint(), "task": task}
        return found | ({"whole": [*self.whole]} if self.whole else {})


DATA: Chosen[Data] = Chosen("DATA", "source")
AnyData: TypeAlias = Annotated[Data, DATA]
