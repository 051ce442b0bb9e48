"""The specification of a data source: shape, labels and task."""

from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.data.tasks.task import TASKS, Task


class Whole(NamedTuple):
    """The whole numbers that a network's input takes as they are: 0 to `below` - 1, without scale and offset.

    ids: whether they only name rows of a table, such as the words of an Embedding. Ids stay integers everywhere; other
    whole numbers, such as the bytes of a picture, are quantities.
    """

    below: int
    ids: bool


@dataclass(frozen=True)
class Spec:
    """Shape, labels and task of a data source.

    shape   shape of one preprocessed example, without the batch dimension
    labels  names of the classes in label order, or of the numbers to predict; empty for anomaly detection
    task    what a model learns from the data
    whole   the whole numbers that examples consist of; None for real numbers
    """

    shape: tuple[int, ...]
    labels: tuple[str, ...]
    task: Task = field(default_factory=lambda: TASKS["classification"])
    whole: Whole | None = None

    @property
    def ids(self) -> int | None:
        """Number of ids that examples consist of; None if their values are quantities."""
        return self.whole.below if self.whole and self.whole.ids else None

    @property
    def outputs(self) -> tuple[int, ...]:
        """Shape of a model's output for one example."""
        return self.task.outputs(self)
