"""The handwritten digits that scikit-learn carries: real data with no download."""

import gzip
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.data.arrays import ArrayData, Pair
from pipeline.errors import Fault, InputError
from pipeline.store import sha256


class Digits(ArrayData):
    """1,797 images (8, 8, 1) of ten handwritten digits, pixels 0..16 scaled to 0..1.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository,
    1998, as carried by scikit-learn (https://scikit-learn.org/stable/datasets/toy_dataset.html).
    """

    source: Literal["digits"] = "digits"
    anonymous: ClassVar[frozenset[str]] = frozenset({"source"})

    def _file(self) -> Path:
        package = find_spec("sklearn")  # finds it without the second that importing it takes
        for folder in (package.submodule_search_locations or ()) if package else ():
            path = Path(folder, "datasets", "data", "digits.csv.gz")
            if path.is_file():
                return path
        raise InputError(Fault("scikit-learn's digits are not there", where="data", do="pip install scikit-learn"))

    def fingerprint(self) -> str:
        return sha256(self._file())

    def place(self, split: str) -> str:
        return "digits"

    def arrays(self) -> dict[str, Pair]:
        with gzip.open(self._file(), "rb") as file:
            table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
        return {"train": (table[:, :-1].reshape(-1, 8, 8, 1), table[:, -1].astype(np.int64))}

    def preprocessing(self, x: NDArray[Any]) -> tuple[tuple[int, ...], float, float]:
        return (8, 8, 1), 1 / 16, 0.0
