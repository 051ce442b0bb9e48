"""The data files that scikit-learn carries."""

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pipeline.core.errors import Fault, InputError


def path(name: str) -> Path:
    """A file of sklearn/datasets/data; InputError when it is not there."""
    package = find_spec("sklearn")  # finds it without the second that importing it takes
    for folder in (package.submodule_search_locations or ()) if package else ():
        found = Path(folder, "datasets", "data", name)
        if found.is_file():
            return found
    raise InputError(Fault(f"scikit-learn's {name} is not there", where="data", do="pip install scikit-learn"))


def table(name: str, delimiter: str | None, dtype: DTypeLike) -> NDArray[np.generic]:
    """The numbers of a compressed file of text, a row for each line."""
    with gzip.open(path(name), "rb") as file:
        return np.loadtxt(file, delimiter=delimiter, dtype=dtype)
