"""What a model is to learn, one class a task: what its truth, its targets and its outputs are.

How good outputs are is in `pipeline.verify.scoring`: a training does not depend on it, so its cache key does not
either.
N is the number of examples.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol, TypeAlias

from pipeline.core.errors import Fault, InputError
from pipeline.core.family import Family, NameOf

if TYPE_CHECKING:  # the report knows tasks by name, and does not load NumPy
    import numpy as np
    from numpy.typing import NDArray


Shape = tuple[int | None, ...]
Truth: TypeAlias = "NDArray[Any]"  # (N, ...): what is known of each example


class Described(Protocol):
    """What a task needs to know of the data: the shape of an example, and the names of what is to be learnt."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def labels(self) -> tuple[str, ...]: ...


class Task(ABC):
    """What the data are for.

    main        the metric that stands for a model
    curves      Keras metrics of a training, beside the loss
    decides     whether an output is a decision for one of the labels, which is right or wrong
    fewest      the fewest names that `labels:` may hold; None where there is nothing to name
    unlabelled  splits whose truth goes without saying
    models      what to take in place of a model that is not for this task
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
        """The array y of one split as it is used from here on; InputError, without its place, when it is none."""

    @abstractmethod
    def names(self, truth: Mapping[str, Truth], labels: Sequence[str] | None) -> tuple[str, ...]:
        """Names of what `labels` did not name, from the truth of all given splits.

        InputError when the splits do not go together; its place is the split's name.
        """

    def strata(self, truth: Truth) -> "NDArray[np.int64]":
        """(N,): examples of one number are cut into splits in equal shares."""
        import numpy as np

        return np.zeros(len(truth), np.int64)

    @abstractmethod
    def outputs(self, spec: Described) -> tuple[int, ...]:
        """Shape of the output for one example."""

    def takes(self, shape: Shape, spec: Described) -> bool:
        """Whether a model with outputs of that shape does this task; None is a size that is left open."""
        expected = self.outputs(spec)
        return len(shape) == len(expected) and all(a in (None, b) for a, b in zip(shape, expected, strict=True))

    @abstractmethod
    def target(self, x: "NDArray[np.float32]", truth: Truth, shape: Shape) -> "NDArray[np.float32]":
        """What outputs (n, *shape) are trained towards, for examples x."""

    @abstractmethod
    def rows(self, output: "NDArray[np.floating]", spec: Described) -> "NDArray[np.floating]":
        """Outputs (N, ...) of any model file as (N, values); InputError when they do not fit the data."""

    def decisions(self, rows: "NDArray[np.floating]") -> "NDArray[np.int64] | None":
        """The label (N,) that each row decides for; None for a task without decisions."""
        return None

    def described(self, labels: Sequence[str], most: int = 24) -> str:
        """What there is to learn, for people."""
        more = f" and {len(labels) - most} more" if len(labels) > most else ""
        return ", ".join(labels[:most]) + more


TASKS: Family[Task] = Family("TASKS")
TaskName = Annotated[str, NameOf(TASKS)]


def wrong(rule: str, received: str, do: str = "", split: str = "") -> InputError:
    """What to raise for arrays that are no truth of this task; split: which of them, where it is one."""
    return InputError(Fault(rule, where=split, received=received, do=do))


def misfit(output: "NDArray[Any]", expected: str, do: str) -> InputError:
    """What to raise for outputs (N, ...) that are of another kind of data."""
    return InputError(Fault(f"gives outputs of shape {output.shape[1:]}", received=f"data with {expected}", do=do))
