"""Decoded examples in a file: one row after the other, so that memory does not grow with their number.

Each row ends with the CRC-32 of its bytes. A row that was damaged is decoded again and mended.
"""

import os
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray

Decode = Callable[[int], NDArray[np.generic]]  # position of an example -> the example
_CRC = 4  # bytes


class Rows:
    """Examples of one shape and dtype in a file that `write` made, read row by row.

    path    the file
    shape   shape of one example
    dtype   dtype of the examples
    decode  gives an example by its row, for rows that are damaged
    """

    def __init__(self, path: Path, shape: Sequence[int], dtype: DTypeLike, decode: Decode) -> None:
        self.path, self.shape, self.dtype, self.decode = path, tuple(shape), np.dtype(dtype), decode
        self._bytes = int(np.prod(self.shape)) * self.dtype.itemsize

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.generic]:
        """Return the examples (n, *shape) of the given rows."""
        found = np.empty((len(rows), *self.shape), self.dtype)
        with self.path.open("rb") as file:
            for i, row in enumerate(rows):
                found[i] = self._row(file.fileno(), int(row))
        return found

    def _row(self, file: int, row: int) -> NDArray[np.generic]:
        content = os.pread(file, self._bytes + _CRC, row * (self._bytes + _CRC))
        if len(content) == self._bytes + _CRC and zlib.crc32(content[:-_CRC]) == int.from_bytes(content[-_CRC:], "big"):
            return np.frombuffer(content, self.dtype, len(content[:-_CRC]) // self.dtype.itemsize).reshape(self.shape)
        example = self.decode(row)
        with self.path.open("r+b") as mended:
            mended.seek(row * (self._bytes + _CRC))
            mended.write(packed(example))
        return example


def packed(example: NDArray[np.generic]) -> bytes:
    """Return the bytes of one row."""
    content = np.ascontiguousarray(example).tobytes()
    return content + zlib.crc32(content).to_bytes(_CRC, "big")


def folder() -> Path:
    """Return the folder of such files: beside the finished stages, in the store that the variable or option names."""
    import platformdirs

    given = os.environ.get("EDGEPIPE_STORE")
    return (Path(given) if given else platformdirs.user_cache_path("edgepipe")) / "v1" / "decoded"
