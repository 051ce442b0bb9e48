"""The diabetes data set that is part of scikit-learn: regression without a download."""

import hashlib
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.core.hashing import file_sha256
from pipeline.data.sources import carried
from pipeline.data.sources.arrays import ArrayData, Labelled
from pipeline.data.tasks.task import TASKS, Task

FILES = ("diabetes_data_raw.csv.gz", "diabetes_target.csv.gz")


class Diabetes(ArrayData):
    """Regression: the progression of diabetes after one year (25 to 346) of 442 patients, from ten values (10,) each.

    The values are age, sex, body mass index, blood pressure and six blood serum measurements, each standardized to mean
    0 and standard deviation 1. Source: B. Efron et al., Least Angle Regression, Annals of Statistics, 2004, as included
    in scikit-learn (https://scikit-learn.org/stable/datasets/toy_dataset.html).
    """

    source: Literal["diabetes"]
    anonymous: ClassVar[frozenset[str]] = frozenset({"source"})

    @property
    def learns(self) -> Task:
        return TASKS["regression"]

    def fingerprint(self) -> str:
        return hashlib.sha256("".join(file_sha256(carried.path(name)) for name in FILES).encode()).hexdigest()

    def place(self, split: str) -> str:
        return "diabetes"

    def arrays(self) -> dict[str, Labelled]:
        values, progress = (carried.table(name, None, np.float64) for name in FILES)
        return {"train": ((values - values.mean(axis=0)) / values.std(axis=0), progress)}

    def preprocessing(self, x: NDArray[Any]) -> tuple[tuple[int, ...], float, float]:
        return (10,), 1.0, 0.0
