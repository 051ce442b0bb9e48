"""The specification of a data source: shape, labels and task."""

from dataclasses import dataclass, field

from pipeline.data.tasks.task import TASKS, Task


@dataclass(frozen=True)
class Spec:
    """Shape, labels and task of a data source.

    shape   shape of one preprocessed example, without the batch dimension
    labels  names of the classes in label order, or of the numbers to predict; empty for anomaly detection
    task    what a model learns from the data
    """

    shape: tuple[int, ...]
    labels: tuple[str, ...]
    task: Task = field(default_factory=lambda: TASKS["classification"])

    @property
    def outputs(self) -> tuple[int, ...]:
        """Shape of a model's output for one example."""
        return self.task.outputs(self)
