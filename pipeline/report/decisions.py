"""Read and write ``decisions.npz`` of a run folder: the decision of each verified model on each test example.

Arrays: `split` (sha256 of the test split), `index` (N,) int64 (position of each test example in `x_<source>` of the
data), `source` (the name of that split of the data), `y` (labels (N,) int64, or values (N, M) float64) and for each
model `model.<name>` (N,): int64 decisions or, for a task without decisions, float64 shares of the main metric. Those of
another runtime than the model's base runtime are `model.<name>@<runtime>` (n,), for the first n examples. The same
decisions give the same bytes.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.core import archive as zip_archive
from pipeline.core.errors import Fault, InputError
from pipeline.data.tasks.task import Truth
from pipeline.verify.scoring.scoring import Verdicts

FILE = "decisions.npz"
MOST_BYTES = 1 << 30  # unpacked: 100 models on a million examples
_MODEL = "model."


class Decisions(NamedTuple):
    """Verdicts on the test split.

    split      its sha256
    y          its labels or values (N, ...)
    models     name -> verdicts (N,)
    source     the split of the data that the examples are in
    positions  the position (N,) of each example in that
    """

    split: str
    y: Truth
    models: Mapping[str, Verdicts]
    source: str
    positions: NDArray[np.int64]


def write(path: Path, decisions: Decisions) -> None:
    """Write the decisions as an .npz archive."""
    arrays: dict[str, Any] = {_MODEL + name: decided for name, decided in decisions.models.items()}
    arrays |= {"split": np.array(decisions.split), "source": np.array(decisions.source), "index": decisions.positions}
    np.savez(path, y=decisions.y, **arrays)


def read(path: Path) -> Decisions:
    """Read a file that `write` wrote. Raises InputError for any other file."""
    try:
        with zipfile.ZipFile(path) as archive:
            zip_archive.check(archive, MOST_BYTES)
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: np.asarray(archive[name]) for name in archive.files}
        split, source = (str(arrays.pop(name)) for name in ("split", "source"))
        y, index = arrays.pop("y"), arrays.pop("index")
        if any(not name.startswith(_MODEL) for name in arrays):
            raise ValueError("it holds other arrays")
        models = {name.removeprefix(_MODEL): decided for name, decided in arrays.items()}
        if not y.ndim or not all(_fits(name, decided, y) for name, decided in models.items()):
            raise ValueError("its arrays are not of one length (N,)")
        if index.dtype != np.int64 or index.shape != y.shape[:1]:
            raise ValueError("its index is no whole number for each example")
        if any(a.dtype not in (np.int64, np.float64) for a in (y, *models.values())):
            raise ValueError("its arrays are no numbers")
        return Decisions(split, y, models, source, index)
    except Exception as error:  # NumPy, zipfile and zlib raise many types for a damaged file
        rule = "holds no decisions of this version of edgepipe"
        raise InputError(Fault(rule, where=str(path), received=str(error) or type(error).__name__)) from None


def _fits(name: str, verdicts: Verdicts, y: Truth) -> bool:
    """Whether there is a verdict for each example, or on another runtime for each of the first ones."""
    return verdicts.ndim == 1 and (len(verdicts) <= len(y) if "@" in name else len(verdicts) == len(y))
