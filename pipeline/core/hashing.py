"""Digests of arrays, single examples and files."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core import regular_file


def array_sha256(*arrays: NDArray[Any]) -> str:
    """Return the sha256 over dtype, shape and bytes of each array, in the given order."""
    total = hashlib.sha256()
    for array in arrays:
        total.update(f"{array.dtype.str}{array.shape}".encode())
        total.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return total.hexdigest()


def example_digest(example: NDArray[Any]) -> bytes:
    """Return a 16-byte digest of an example's bytes, used to find equal examples within and across splits."""
    return hashlib.blake2b(np.ascontiguousarray(example).tobytes(), digest_size=16).digest()


def file_sha256(path: Path) -> str:
    """Return the sha256 of a regular file, read in pieces of 1 MiB. Raises OSError if it can't be read."""
    total = hashlib.sha256()
    regular_file.size(path)
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            total.update(piece)
    return total.hexdigest()
