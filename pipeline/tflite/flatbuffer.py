"""Read flatbuffer tables from untrusted bytes.

The generated Python classes trust the file, and flatbuffers has a verifier for C++ only
(https://flatbuffers.dev/languages/cpp/#access-of-untrusted-buffers). Here every read is checked against the end of the
bytes. Time and memory are bounded by a budget proportional to the file size, because offsets may point anywhere: a
small file can claim vectors of 2^32 elements, or refer to the same large table a million times.
"""

import struct

import numpy as np
from numpy.typing import NDArray

I8, U8, U16 = struct.Struct("<b"), struct.Struct("<B"), struct.Struct("<H")
I32, U32, U64 = struct.Struct("<i"), struct.Struct("<I"), struct.Struct("<Q")

TABLE_BYTES = 8  # minimum size of a table in a vector: its offset in the vector, and its offset to its vtable
FIELDS = 16  # limit of fields read per table; the tables used here have up to 14, a hostile vtable can claim 32,765
MAX_TEXT = 10_000  # bytes of a name; names that the converter joins for fused ops have a few hundred
MAX_TABLES = 250_000  # total over all vectors; the largest language models have about 100,000 tensors and ops
SHARING = 4  # budget as a multiple of the file size: valid files may share some strings and vectors
SLACK = 65536  # bytes added to the budget, for the smallest files


class MalformedError(Exception):
    """The bytes are not valid. The message gives the reason as the end of a sentence."""


class Buffer:
    """The bytes of a file, with budgets for what may be read in total.

    left    bytes that vectors may still claim
    tables  tables that vectors may still contain
    """

    __slots__ = ("data", "left", "tables")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.left = SHARING * len(data) + SLACK
        self.tables = MAX_TABLES

    def scalar(self, kind: struct.Struct, at: int) -> int:
        """Return the number at a byte offset. Raises MalformedError for an offset outside the bytes.

        The check of negative offsets is needed because struct counts them from the end.
        """
        if at < 0 or at + kind.size > len(self.data):
            raise MalformedError("it is cut off, or an offset points outside of it")
        value: int = kind.unpack_from(self.data, at)[0]
        return value

    def vector(self, at: int, item_bytes: int) -> tuple[int, int]:
        """Return (position of the first element, number of elements) of the vector whose offset is stored at ``at``.

        Raises MalformedError if the vector does not fit into the bytes or the budget.
        """
        start = at + self.scalar(U32, at)
        count = self.scalar(U32, start)
        if start + 4 + count * item_bytes > len(self.data):
            raise MalformedError(f"a vector claims {count} elements, more than the file holds")
        self.left -= count * max(item_bytes, 1)
        if self.left < 0:
            raise MalformedError("its vectors overlap and claim more than the file holds")
        return start + 4, count


class Table:
    """One table. Fields are addressed by slot number, which never changes in a flatbuffer schema.

    All methods raise MalformedError for data outside the bytes or beyond the budget.
    """

    __slots__ = ("_at", "_fields", "_source")

    def __init__(self, source: Buffer, at: int) -> None:
        vtable = at - source.scalar(I32, at)
        count = min((source.scalar(U16, vtable) - 4) // 2, FIELDS)
        if count < 0 or vtable + 4 + 2 * count > len(source.data):
            raise MalformedError("a table is cut off")
        self._source, self._at = source, at
        self._fields: tuple[int, ...] = struct.unpack_from(f"<{count}H", source.data, vtable + 4)

    def _position(self, slot: int) -> int:
        """Return the byte offset of a field in the file, or 0 if the table lacks the field."""
        offset = self._fields[slot] if slot < len(self._fields) else 0
        return self._at + offset if offset else 0

    def number(self, slot: int, kind: struct.Struct, default: int = 0) -> int:
        at = self._position(slot)
        return self._source.scalar(kind, at) if at else default

    def has(self, slot: int) -> bool:
        return self._position(slot) != 0

    def table(self, slot: int) -> "Table | None":
        at = self._position(slot)
        return Table(self._source, at + self._source.scalar(U32, at)) if at else None

    def tables(self, slot: int) -> "list[Table]":
        at = self._position(slot)
        if not at:
            return []
        start, count = self._source.vector(at, 4)
        self._source.left -= count * (TABLE_BYTES - 4)
        self._source.tables -= count
        if self._source.tables < 0:
            raise MalformedError(f"it has more than {MAX_TABLES} tensors, ops and buffers")
        places = range(start, start + 4 * count, 4)
        return [Table(self._source, place + self._source.scalar(U32, place)) for place in places]

    def array(self, slot: int, dtype: str) -> NDArray[np.generic]:
        """Return a vector of numbers (n,) as a read-only view; empty if the field is missing.

        dtype: NumPy dtype with byte order, such as "<i4".
        """
        at, kind = self._position(slot), np.dtype(dtype)
        if not at:
            return np.empty(0, kind)
        start, count = self._source.vector(at, kind.itemsize)
        return np.frombuffer(self._source.data, kind, count, start)

    def ints(self, slot: int, dtype: str = "<i4") -> tuple[int, ...]:
        return tuple(self.array(slot, dtype).tolist())

    def text(self, slot: int) -> str:
        """Return a string, cut at MAX_TEXT bytes. Bytes that are not UTF-8 are replaced: names are only displayed."""
        at = self._position(slot)
        if not at:
            return ""
        start, count = self._source.vector(at, 1)
        return self._source.data[start : start + min(count, MAX_TEXT)].decode("utf-8", "replace")
