"""The regression task: predict numbers for each example."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the report imports tasks, and does not need NumPy
    import numpy as np
    from numpy.typing import NDArray

from pipeline.data.tasks.task import Described, Shape, Task, Truth, misfit, wrong


class Regression(Task):
    """Predict M numbers for each example, such as a temperature. Outputs are these numbers, in the unit of y."""

    name = "regression"
    main = "mae"
    curves = ("mae",)
    fewest = 1
    models = "take small_cnn, mlp or a file with an output for each number of y"

    def truth(self, y: "NDArray[Any]", labels: Sequence[str] | None) -> Truth:
        import numpy as np

        if y.ndim not in (1, 2) or y.dtype.kind not in "uif" or 0 in y.shape[1:]:
            raise wrong("values must be an array (N,) or (N, M) of numbers", f"{y.dtype} {y.shape}")
        y = y.reshape(len(y), -1).astype(np.float64)
        broken = np.flatnonzero(~(np.abs(y) <= np.finfo(np.float32).max).all(axis=1))
        if len(broken):
            raise wrong("values must be finite in float32", f"NaN, infinity or more at position {broken[0]}")
        if labels and y.shape[1] != len(labels):
            rule = f"there must be {len(labels)} values an example, for {len(labels)} labels"
            raise wrong(rule, str(y.shape[1]), "name each of them, or leave `labels:` out")
        return y

    def names(self, truth: Mapping[str, Truth], labels: Sequence[str] | None) -> tuple[str, ...]:
        count = truth["train"].shape[1]
        for split, y in truth.items():
            if y.shape[1] != count:
                raise wrong(f"values must be (N, {count}), as in train", str(y.shape), split=split)
        return tuple(labels) if labels else tuple(f"y{i}" for i in range(count)) if count > 1 else ("y",)

    def outputs(self, spec: Described) -> tuple[int, ...]:
        return (len(spec.labels),)

    def target(self, x: "NDArray[np.float32]", truth: Truth, shape: Shape) -> "NDArray[np.float32]":
        import numpy as np

        return truth.astype(np.float32)

    def rows(self, output: "NDArray[np.floating]", spec: Described) -> "NDArray[np.floating]":
        rows, count = output.reshape(len(output), -1), len(spec.labels)
        if rows.shape[1] != count:
            raise misfit(output, f"{count} numbers an example", "measure it with the data that it was made for")
        return rows

    def described(self, labels: Sequence[str], most: int = 24) -> str:
        return f"regression of {super().described(labels, most)}"
