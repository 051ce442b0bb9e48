"""Digests of arrays, examples and files."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def array_sha256(*arrays: NDArray[Any]) -> str:
    """sha256 over dtype, shape and bytes of arrays in their order."""
    total = hashlib.sha256()
    for array in arrays:
        total.update(f"{array.dtype.str}{array.shape}".encode())
        total.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return total.hexdigest()


def example_digest(example: NDArray[Any]) -> bytes:
    """16 bytes that two examples share only when they are equal, for finding an example again in another split."""
    return hashlib.blake2b(np.ascontiguousarray(example).tobytes(), digest_size=16).digest()


def file_sha256(path: Path) -> str:
    """sha256 of a file, read in pieces."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            total.update(piece)
    return total.hexdigest()
