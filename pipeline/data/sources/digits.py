"""The handwritten digits that are part of scikit-learn: classification or anomaly detection without a download."""

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.core.hashing import file_sha256
from pipeline.data.sources import carried
from pipeline.data.sources.arrays import ArrayData, Labelled
from pipeline.data.splitting import stratified
from pipeline.data.tasks.task import TASKS, Task

FILE = "digits.csv.gz"


class Digits(ArrayData):
    """1,797 images (8, 8, 1) of ten handwritten digits, with pixels 0..16 scaled to 0..1.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository,
    1998, as included in scikit-learn (https://scikit-learn.org/stable/datasets/toy_dataset.html).
    """

    source: Literal["digits"] = "digits"
    normal: Annotated[int, Field(ge=0, le=9)] | None = None
    """The normal digit for anomaly detection; all other digits are anomalies and are in the test split only. Examples
    are flat, (64,). If left out, the task is classification."""

    anonymous: ClassVar[frozenset[str]] = frozenset({"source"})

    @property
    def learns(self) -> Task:
        return TASKS["classification" if self.normal is None else "anomaly"]

    def fingerprint(self) -> str:
        return file_sha256(carried.path(FILE))

    def place(self, split: str) -> str:
        return "digits"

    def arrays(self) -> dict[str, Labelled]:
        table = carried.table(FILE, ",", np.uint8)
        x, y = table[:, :-1].reshape(-1, 8, 8, 1), table[:, -1].astype(np.int64)
        if self.normal is None:
            return {"train": (x, y)}
        usual, odd = x[y == self.normal], x[y != self.normal]
        share = {"test": self.splits.test}
        cut = stratified(self.together(usual), np.zeros(len(usual), np.int64), share, self.split_seed)
        test = np.concatenate([usual[cut["test"]], odd])
        anomalous = np.arange(len(test)) >= len(cut["test"])
        return {"train": (usual[cut["train"]], np.zeros(len(cut["train"]), np.int64)), "test": (test, anomalous)}

    def preprocessing(self, x: NDArray[Any]) -> tuple[tuple[int, ...], float, float]:
        return (8, 8, 1) if self.normal is None else (64,), 1 / 16, 0.0
