"""What one example is."""

from dataclasses import dataclass, field

from pipeline.data.tasks.task import TASKS, Task


@dataclass(frozen=True)
class Spec:
    """What one example is, after preprocessing.

    shape   without the batch dimension
    labels  names of the classes in label order, or of the numbers that are to be found; empty for anomalies
    task    what is to be learnt
    """

    shape: tuple[int, ...]
    labels: tuple[str, ...]
    task: Task = field(default_factory=lambda: TASKS["classification"])

    @property
    def outputs(self) -> tuple[int, ...]:
        """Shape of a model's output for one example."""
        return self.task.outputs(self)
