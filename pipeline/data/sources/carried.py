"""Read the data files that are part of scikit-learn's package."""

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pipeline.core.errors import Fault, InputError


def path(name: str) -> Path:
    """Return the path of a file in sklearn/datasets/data. Raises InputError if it does not exist."""
    package = find_spec("sklearn")  # does not import it, which would take a second
    for folder in (package.submodule_search_locations or ()) if package else ():
        found = Path(folder, "datasets", "data", name)
        if found.is_file():
            return found
    raise InputError(Fault(f"scikit-learn's {name} is not there", where="data", do="pip install scikit-learn"))


def table(name: str, delimiter: str | None, dtype: DTypeLike) -> NDArray[np.generic]:
    """Return the numbers (lines, columns) of a gzip-compressed text file; (lines,) if it has one column."""
    with gzip.open(path(name), "rt", encoding="ascii") as file:
        lines = file.read().splitlines()  # loadtxt is slow to take them from a file one by one
    return np.loadtxt(lines, delimiter=delimiter, dtype=dtype)
