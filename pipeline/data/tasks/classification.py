"""The classification task: which of K labels an example has."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import Fault, InputError

if TYPE_CHECKING:  # the report imports tasks, and does not need NumPy
    import numpy as np
    from numpy.typing import NDArray

from pipeline.data.tasks.task import Described, Shape, Task, Truth, misfit, wrong

_MOST_LABELS = 2**31  # when `labels:` does not limit them


class Classification(Task):
    """Which of K labels an example has. Outputs are K scores, or, for two labels, the probability of the second."""

    name = "classification"
    main = "accuracy"
    curves = ("accuracy",)
    decides = True
    fewest = 2
    models = "take small_cnn, mlp or a file with an output for each label"

    def truth(self, y: "NDArray[Any]", labels: Sequence[str] | None) -> Truth:
        import numpy as np

        y = y.reshape(-1) if y.ndim == 2 and y.shape[1] == 1 else y
        if y.ndim != 1 or y.dtype.kind not in "ui":
            do = "use y.argmax(axis=1)" if y.ndim == 2 else "use whole numbers from 0"
            raise wrong("labels must be an array (N,) of integers", f"{y.dtype} {y.shape}", do)
        limit = len(labels) if labels else _MOST_LABELS
        outside = np.flatnonzero((y < 0) | (y >= limit))
        if len(outside):
            top = f"{limit - 1}, for {limit} labels" if labels else "the number of classes less one"
            raise wrong(f"labels must be from 0 to {top}", f"{y[outside[0]]} at position {outside[0]}")
        return y.astype(np.int64)

    def names(self, truth: Mapping[str, Truth], labels: Sequence[str] | None) -> tuple[str, ...]:
        if labels:
            return tuple(labels)
        seen = {label for y in truth.values() for label in y.tolist()}
        if len(seen) < 2 or max(seen) >= len(seen):
            absent = next(label for label in range(max(len(seen), 2)) if label not in seen)
            rule = "there must be two labels or more, and an example of each from 0 to the highest"
            do = "number the labels from 0, or name all of them with `labels:`"
            raise wrong(rule, f"no example of {absent}", do)
        return tuple(map(str, range(len(seen))))

    def strata(self, truth: Truth) -> "NDArray[np.int64]":
        return truth

    def outputs(self, spec: Described) -> tuple[int, ...]:
        return (len(spec.labels),)

    def takes(self, shape: Shape, spec: Described) -> bool:
        return super().takes(shape, spec) or (shape == (1,) and len(spec.labels) == 2)

    def target(self, x: "NDArray[np.float32]", truth: Truth, shape: Shape) -> "NDArray[np.float32]":
        import numpy as np

        if shape == (1,):
            return truth[:, np.newaxis].astype(np.float32)
        return np.asarray(truth[:, np.newaxis] == np.arange(shape[-1] or 0), np.float32)

    def rows(self, output: "NDArray[np.floating]", spec: Described) -> "NDArray[np.floating]":
        rows, count = output.reshape(len(output), -1), len(spec.labels)
        if rows.shape[1] == 1 and count == 2:
            return _both(rows[:, 0])
        if rows.shape[1] < count:
            raise misfit(output, f"{count} labels", "measure it with the data that it was made for")
        return rows

    def decisions(self, rows: "NDArray[np.floating]") -> "NDArray[np.int64] | None":
        """Return the label with the highest score, the first of equal ones.

        For a single probability p, which `rows` turns into two scores, that is the second label if p >= 0.5.
        """
        import numpy as np

        return np.asarray(rows.argmax(axis=1))

    def described(self, labels: Sequence[str], most: int = 24) -> str:
        return f"{len(labels)} classes" + (f": {super().described(labels, most)}" if labels else "")


def _both(p: "NDArray[np.floating]") -> "NDArray[np.floating]":
    """Return the scores [1 - p, p] (N, 2) for the probabilities p (N,) of the second label.

    For p = 0.5, which int8 represents exactly, the first score is the next smaller float, so the second label wins.
    """
    import numpy as np

    if np.any((p < 0) | (p > 1)):
        rule = "a model with one output for two labels must give a probability, 0 to 1"
        received = f"{p[(p < 0) | (p > 1)][0]:.4g}"
        raise InputError(Fault(rule, received=received, do="end it in a sigmoid, or in an output for each label"))
    first = np.where(p == 0.5, np.nextafter(p.dtype.type(0.5), p.dtype.type(0)), 1 - p)
    return np.stack([first, p], axis=1)
