"""A data source: the base class of everything that gives examples."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.core import code_digest
from pipeline.core.family import Chosen
from pipeline.core.settings import KeyedSettings
from pipeline.data.spec import Spec
from pipeline.data.tasks.task import TASKS

if TYPE_CHECKING:
    from pipeline.data.contract import Contract

SPLITS = ("train", "validation", "calibration", "test")


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


def spread(length: int, most: int) -> NDArray[np.int64]:
    """At most so many positions below a length, evenly over all, in order."""
    return np.unique(np.linspace(0, length - 1, min(length, most)).astype(np.int64))


class Data(KeyedSettings):
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
    def contract(self) -> "Contract":
        """How raw values become what the model is trained on."""

    def identity(self) -> dict[str, Any]:
        task = code_digest.digest(TASKS.module(self.spec().task.name))
        return super().identity() | {"content": self.fingerprint(), "task": task}


DATA: Chosen[Data] = Chosen("DATA", "source")
AnyData: TypeAlias = Annotated[Data, DATA]
