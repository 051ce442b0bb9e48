"""The base class of tasks. A task defines the ground truth, the training targets and the outputs of models.

Metrics are in `pipeline.verify.scoring` instead: training does not depend on them, so neither do the cache keys of
training stages. In shapes, N and n are numbers of examples.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol, TypeAlias

from pipeline.core.errors import Fault, InputError
from pipeline.core.family import Family, NameOf

if TYPE_CHECKING:  # the report imports tasks, and does not need NumPy
    import numpy as np
    from numpy.typing import NDArray


Shape = tuple[int | None, ...]
Truth: TypeAlias = "NDArray[Any]"  # (N, ...): the ground truth of each example


class Described(Protocol):
    """What a task needs to know about the data: the shape of one example, and the labels. `Spec` is one."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def labels(self) -> tuple[str, ...]: ...


class Task(ABC):
    """Base class of tasks.

    name        the name that configs use
    main        the metric that models are compared by
    curves      Keras metrics that are recorded during training, besides the loss
    decides     whether a model decides for one of the labels, so that a decision is right or wrong
    fewest      the minimum number of names in `labels:`; None if the task has no labels
    unlabelled  splits that may lack their y array, because the ground truth follows from the task
    models      advice for messages: which models to use for this task

    A task whose outputs are several independent yes-or-no labels, for example::

        class MultiLabel(Task):
            \"\"\"Any number of K labels for each example. Outputs are K probabilities.\"\"\"

            name = "multi_label"
            main = "f1"
            fewest = 1
            models = "use a file with a sigmoid output for each label"

            def truth(self, y, labels):
                if y.ndim != 2 or not np.isin(y, (0, 1)).all():
                    raise wrong("labels must be an array (N, K) of 0 and 1", f"{y.dtype} {y.shape}")
                return y.astype(np.int64)

            def names(self, truth, labels):
                return tuple(labels or map(str, range(truth["train"].shape[1])))

            def outputs(self, spec):
                return (len(spec.labels),)

            def target(self, x, truth, shape):
                return truth.astype(np.float32)

            def rows(self, output, spec):
                return output.reshape(len(output), -1)
    """

    name: ClassVar[str]
    main: ClassVar[str]
    curves: ClassVar[tuple[str, ...]] = ()
    decides: ClassVar[bool] = False
    fewest: ClassVar[int | None] = None
    unlabelled: ClassVar[tuple[str, ...]] = ()
    models: ClassVar[str]

    @abstractmethod
    def truth(self, y: "NDArray[Any]", labels: Sequence[str] | None) -> Truth:
        """Check the array y of one split, and return it as ground truth (N, ...) in the dtype used from here on.

        labels: the names from the config, or None. Raises InputError, without a location, if y does not fit the task.
        """

    @abstractmethod
    def names(self, truth: Mapping[str, Truth], labels: Sequence[str] | None) -> tuple[str, ...]:
        """Return the names of the labels: `labels` if given, else derived from the ground truth of the given splits.

        Raises InputError, with the name of the split as its location, if the splits do not fit together.
        """

    def strata(self, truth: Truth) -> "NDArray[np.int64]":
        """Return the stratum (N,), int64, of each example. Splits get the same fraction of every stratum."""
        import numpy as np

        return np.zeros(len(truth), np.int64)

    @abstractmethod
    def outputs(self, spec: Described) -> tuple[int, ...]:
        """Return the shape of a model's output for one example."""

    def takes(self, shape: Shape, spec: Described) -> bool:
        """Return whether a model with this output shape fits the task; None in `shape` stands for any size."""
        expected = self.outputs(spec)
        return len(shape) == len(expected) and all(a in (None, b) for a, b in zip(shape, expected, strict=True))

    @abstractmethod
    def target(self, x: "NDArray[np.float32]", truth: Truth, shape: Shape) -> "NDArray[np.float32]":
        """Return the training targets (n, *shape), float32, for examples x.

        shape: the output shape of the model, without the batch dimension.
        """

    @abstractmethod
    def rows(self, output: "NDArray[np.floating]", spec: Described) -> "NDArray[np.floating]":
        """Return the outputs (N, ...) of a model file as (N, values). Raises InputError if they do not fit the data."""

    def decisions(self, rows: "NDArray[np.floating]") -> "NDArray[np.int64] | None":
        """Return the label (N,), int64, that each row decides for; None if the task has no decisions."""
        return None

    def described(self, labels: Sequence[str], most: int = 24) -> str:
        """Return a short description of what is learnt, naming at most `most` labels."""
        more = f" and {len(labels) - most} more" if len(labels) > most else ""
        return ", ".join(labels[:most]) + more


TASKS: Family[Task] = Family("TASKS")
TaskName = Annotated[str, NameOf(TASKS)]


def wrong(rule: str, received: str, do: str = "", split: str = "") -> InputError:
    """Return the error to raise for arrays that do not fit a task. split: the name of the split, if it is one split."""
    return InputError(Fault(rule, where=split, received=received, do=do))


def misfit(output: "NDArray[Any]", expected: str, do: str) -> InputError:
    """Return the error to raise for model outputs (N, ...) that do not fit the data."""
    return InputError(Fault(f"gives outputs of shape {output.shape[1:]}", received=f"data with {expected}", do=do))
