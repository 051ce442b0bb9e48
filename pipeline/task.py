"""What a model is to learn, one class a task: what its truth, its targets and its outputs are.

How good outputs are is in `pipeline.scoring`: a training does not depend on it, so its cache key must not either.
N is the number of examples.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from pipeline.errors import Fault, InputError

if TYPE_CHECKING:  # the report knows tasks by name, and does not load NumPy
    import numpy as np
    from numpy.typing import NDArray

    from pipeline.stage import Spec

TaskName = Literal["classification", "regression", "anomaly"]
Shape = tuple[int | None, ...]
Truth: TypeAlias = "NDArray[Any]"  # (N, ...): what is known of each example

_MOST_LABELS = 2**31  # that a number can stand for


class Task(ABC):
    """What the data are for.

    main        the metric that stands for a model
    metrics     all that are measured
    curves      Keras metrics of a training, beside the loss
    decides     whether an output is a decision for one of the labels, which is right or wrong
    fewest      the fewest names that `labels:` may hold; None where there is nothing to name
    unlabelled  splits whose truth goes without saying
    models      what to take in place of a model that is not for this task
    """

    name: ClassVar[TaskName]
    main: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]
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
    def outputs(self, spec: "Spec") -> tuple[int, ...]:
        """Shape of the output for one example."""

    def takes(self, shape: Shape, spec: "Spec") -> bool:
        """Whether a model with outputs of that shape does this task; None is a size that is left open."""
        expected = self.outputs(spec)
        return len(shape) == len(expected) and all(a in (None, b) for a, b in zip(shape, expected, strict=True))

    @abstractmethod
    def target(self, x: "NDArray[np.float32]", truth: Truth, shape: Shape) -> "NDArray[np.float32]":
        """What outputs (n, *shape) are trained towards, for examples x."""

    @abstractmethod
    def rows(self, output: "NDArray[np.floating]", spec: "Spec") -> "NDArray[np.floating]":
        """Outputs (N, ...) of any model file as (N, values); InputError when they do not fit the data."""

    def decisions(self, rows: "NDArray[np.floating]") -> "NDArray[np.int64] | None":
        """The label (N,) that each row decides for; None for a task without decisions."""
        return None

    def described(self, labels: Sequence[str], most: int = 24) -> str:
        """What there is to learn, for people."""
        more = f" and {len(labels) - most} more" if len(labels) > most else ""
        return ", ".join(labels[:most]) + more


class Classification(Task):
    """Which of K labels an example has. Outputs are K scores, or for two labels the probability of the second."""

    name = "classification"
    main = "accuracy"
    metrics = (
        "accuracy", "top5_accuracy", "balanced_accuracy", "precision_macro", "recall_macro", "f1_macro",
        "worst_recall", "auc_macro", "log_loss", "ece",
    )  # fmt: skip
    curves = ("accuracy",)
    decides = True
    fewest = 2
    models = "take small_cnn, mlp or a file with an output for each label"

    def truth(self, y: "NDArray[Any]", labels: Sequence[str] | None) -> Truth:
        import numpy as np

        y = y.reshape(-1) if y.ndim == 2 and y.shape[1] == 1 else y
        if y.ndim != 1 or y.dtype.kind not in "ui":
            do = "use y.argmax(axis=1)" if y.ndim == 2 else "use whole numbers from 0"
            raise _wrong("labels must be an array (N,) of integers", f"{y.dtype} {y.shape}", do)
        limit = len(labels) if labels else _MOST_LABELS
        outside = np.flatnonzero((y < 0) | (y >= limit))
        if len(outside):
            top = f"{limit - 1}, for {limit} labels" if labels else "the number of classes less one"
            raise _wrong(f"labels must be from 0 to {top}", f"{y[outside[0]]} at position {outside[0]}")
        return y.astype(np.int64)

    def names(self, truth: Mapping[str, Truth], labels: Sequence[str] | None) -> tuple[str, ...]:
        import numpy as np

        if labels:
            return tuple(labels)
        seen = np.unique(np.concatenate(list(truth.values())))
        if len(seen) < 2 or seen[-1] >= len(seen):
            absent = np.setdiff1d(np.arange(max(len(seen), 2)), seen)[0]
            rule = "there must be two labels or more, and an example of each from 0 to the highest"
            do = "number the labels from 0, or name all of them with `labels:`"
            raise _wrong(rule, f"no example of {absent}", do)
        return tuple(map(str, range(len(seen))))

    def strata(self, truth: Truth) -> "NDArray[np.int64]":
        return truth

    def outputs(self, spec: "Spec") -> tuple[int, ...]:
        return (len(spec.labels),)

    def takes(self, shape: Shape, spec: "Spec") -> bool:
        return super().takes(shape, spec) or (shape == (1,) and len(spec.labels) == 2)

    def target(self, x: "NDArray[np.float32]", truth: Truth, shape: Shape) -> "NDArray[np.float32]":
        import numpy as np

        if shape == (1,):
            return truth[:, np.newaxis].astype(np.float32)
        return np.asarray(truth[:, np.newaxis] == np.arange(shape[-1] or 0), np.float32)

    def rows(self, output: "NDArray[np.floating]", spec: "Spec") -> "NDArray[np.floating]":
        rows, count = output.reshape(len(output), -1), len(spec.labels)
        if rows.shape[1] == 1 and count == 2:
            return _both(rows[:, 0])
        if rows.shape[1] < count:
            raise _misfit(output, f"{count} labels", "measure it with the data that it was made for")
        return rows

    def decisions(self, rows: "NDArray[np.floating]") -> "NDArray[np.int64] | None":
        """The highest score, the first of equal ones; of one probability p the second label where p >= 0.5."""
        import numpy as np

        return np.asarray(rows.argmax(axis=1))

    def described(self, labels: Sequence[str], most: int = 24) -> str:
        return f"{len(labels)} classes" + (f": {super().described(labels, most)}" if labels else "")


class Regression(Task):
    """M numbers for each example, such as a temperature. Outputs are these numbers, in the unit of y."""

    name = "regression"
    main = "mae"
    metrics = ("mae", "rmse", "r2")
    curves = ("mae",)
    fewest = 1
    models = "take small_cnn, mlp or a file with an output for each number of y"

    def truth(self, y: "NDArray[Any]", labels: Sequence[str] | None) -> Truth:
        import numpy as np

        if y.ndim not in (1, 2) or y.dtype.kind not in "uif" or 0 in y.shape[1:]:
            raise _wrong("values must be an array (N,) or (N, M) of numbers", f"{y.dtype} {y.shape}")
        y = y.reshape(len(y), -1).astype(np.float64)
        broken = np.flatnonzero(~(np.abs(y) <= np.finfo(np.float32).max).all(axis=1))
        if len(broken):
            raise _wrong("values must be finite in float32", f"NaN, infinity or more at position {broken[0]}")
        if labels and y.shape[1] != len(labels):
            rule = f"there must be {len(labels)} values an example, for {len(labels)} labels"
            raise _wrong(rule, str(y.shape[1]), "name each of them, or leave `labels:` out")
        return y

    def names(self, truth: Mapping[str, Truth], labels: Sequence[str] | None) -> tuple[str, ...]:
        count = truth["train"].shape[1]
        for split, y in truth.items():
            if y.shape[1] != count:
                raise _wrong(f"values must be (N, {count}), as in train", str(y.shape), split=split)
        return tuple(labels) if labels else tuple(f"y{i}" for i in range(count)) if count > 1 else ("y",)

    def outputs(self, spec: "Spec") -> tuple[int, ...]:
        return (len(spec.labels),)

    def target(self, x: "NDArray[np.float32]", truth: Truth, shape: Shape) -> "NDArray[np.float32]":
        import numpy as np

        return truth.astype(np.float32)

    def rows(self, output: "NDArray[np.floating]", spec: "Spec") -> "NDArray[np.floating]":
        rows, count = output.reshape(len(output), -1), len(spec.labels)
        if rows.shape[1] != count:
            raise _misfit(output, f"{count} numbers an example", "measure it with the data that it was made for")
        return rows

    def described(self, labels: Sequence[str], most: int = 24) -> str:
        return f"regression of {super().described(labels, most)}"


class Anomaly(Task):
    """Whether an example is unlike all that is normal. The model gives back its input: the error is the score."""

    name = "anomaly"
    main = "auc"
    metrics = ("auc", "pauc")
    unlabelled = ("train", "validation", "calibration")
    models = "take autoencoder or a file that gives back its input"

    def truth(self, y: "NDArray[Any]", labels: Sequence[str] | None) -> Truth:
        import numpy as np

        y = y.reshape(-1) if y.ndim == 2 and y.shape[1] == 1 else y
        if y.ndim != 1 or y.dtype.kind not in "uib":
            raise _wrong("labels must be an array (N,) of 0 (normal) and 1 (anomalous)", f"{y.dtype} {y.shape}")
        outside = np.flatnonzero((y != 0) & (y != 1))
        if len(outside):
            received = f"{y[outside[0]]} at position {outside[0]}"
            raise _wrong("labels must be 0 (normal) or 1 (anomalous)", received)
        return y.astype(np.int64)

    def names(self, truth: Mapping[str, Truth], labels: Sequence[str] | None) -> tuple[str, ...]:
        import numpy as np

        if "test" not in truth:
            do = "add x_test and y_test, with 0 for normal and 1 for anomalous"
            raise _wrong("anomaly detection needs a test split of its own", "no test split", do)
        for split, y in truth.items():
            if split != "test" and y.any():
                rule = "must hold normal examples alone: what is trained on is no anomaly"
                received = f"{y.sum()} of {len(y)} anomalous"
                raise _wrong(rule, received, "move them to the test split, or leave them out", split)
        if len(np.unique(truth["test"])) < 2:
            only = "anomalous" if truth["test"].any() else "normal"
            raise _wrong("must hold normal and anomalous examples", f"{only} ones alone", split="test")
        return ()

    def outputs(self, spec: "Spec") -> tuple[int, ...]:
        return spec.shape

    def target(self, x: "NDArray[np.float32]", truth: Truth, shape: Shape) -> "NDArray[np.float32]":
        return x

    def rows(self, output: "NDArray[np.floating]", spec: "Spec") -> "NDArray[np.floating]":
        rows = output.reshape(len(output), -1)
        if rows.shape[1] != prod(spec.shape):
            do = "bring a model that gives back its input"
            raise _misfit(output, f"examples of {prod(spec.shape)} values", do)
        return rows

    def described(self, labels: Sequence[str], most: int = 24) -> str:
        return "anomaly detection: all splits but test are normal"


TASKS: dict[TaskName, Task] = {task.name: task for task in (Classification(), Regression(), Anomaly())}


def _both(p: "NDArray[np.floating]") -> "NDArray[np.floating]":
    """[1 - p, p] of the second label's probability p (N,).

    At p = 0.5, which int8 holds exactly, 1 - p gives way by the smallest step: then the highest is the second.
    """
    import numpy as np

    if np.any((p < 0) | (p > 1)):
        rule = "a model with one output for two labels must give a probability, 0 to 1"
        received = f"{p[(p < 0) | (p > 1)][0]:.4g}"
        raise InputError(Fault(rule, received=received, do="end it in a sigmoid, or in an output for each label"))
    first = np.where(p == 0.5, np.nextafter(p.dtype.type(0.5), p.dtype.type(0)), 1 - p)
    return np.stack([first, p], axis=1)


def _wrong(rule: str, received: str, do: str = "", split: str = "") -> InputError:
    return InputError(Fault(rule, where=split, received=received, do=do))


def _misfit(output: "NDArray[Any]", expected: str, do: str) -> InputError:
    return InputError(Fault(f"gives outputs of shape {output.shape[1:]}", received=f"data with {expected}", do=do))
