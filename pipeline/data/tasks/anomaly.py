"""The anomaly detection task: whether an example differs from the normal ones."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the report imports tasks, and does not need NumPy
    import numpy as np
    from numpy.typing import NDArray

from pipeline.data.tasks.task import Described, Shape, Task, Truth, misfit, wrong


class Anomaly(Task):
    """Whether an example differs from the normal ones. The model reconstructs its input; the error is the score."""

    name = "anomaly"
    main = "auc"
    unlabelled = ("train", "validation", "calibration")
    models = "take autoencoder or a file that gives back its input"

    def truth(self, y: "NDArray[Any]", labels: Sequence[str] | None) -> Truth:
        import numpy as np

        y = y.reshape(-1) if y.ndim == 2 and y.shape[1] == 1 else y
        if y.ndim != 1 or y.dtype.kind not in "uib":
            raise wrong("labels must be an array (N,) of 0 (normal) and 1 (anomalous)", f"{y.dtype} {y.shape}")
        outside = np.flatnonzero((y != 0) & (y != 1))
        if len(outside):
            received = f"{y[outside[0]]} at position {outside[0]}"
            raise wrong("labels must be 0 (normal) or 1 (anomalous)", received)
        return y.astype(np.int64)

    def names(self, truth: Mapping[str, Truth], labels: Sequence[str] | None) -> tuple[str, ...]:
        import numpy as np

        if "test" not in truth:
            do = "add x_test and y_test, with 0 for normal and 1 for anomalous"
            raise wrong("anomaly detection needs a test split of its own", "no test split", do)
        for split, y in truth.items():
            if split != "test" and y.any():
                rule = "must hold normal examples alone: what is trained on is no anomaly"
                received = f"{y.sum()} of {len(y)} anomalous"
                raise wrong(rule, received, "move them to the test split, or leave them out", split)
        if len(np.unique(truth["test"])) < 2:
            only = "anomalous" if truth["test"].any() else "normal"
            raise wrong("must hold normal and anomalous examples", f"{only} ones alone", split="test")
        return ()

    def outputs(self, spec: Described) -> tuple[int, ...]:
        return spec.shape

    def target(self, x: "NDArray[np.float32]", truth: Truth, shape: Shape) -> "NDArray[np.float32]":
        return x

    def rows(self, output: "NDArray[np.floating]", spec: Described) -> "NDArray[np.floating]":
        rows = output.reshape(len(output), -1)
        if rows.shape[1] != prod(spec.shape):
            do = "bring a model that gives back its input"
            raise misfit(output, f"examples of {prod(spec.shape)} values", do)
        return rows

    def described(self, labels: Sequence[str], most: int = 24) -> str:
        return "anomaly detection: all splits but test are normal"
