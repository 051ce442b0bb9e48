"""Reads flatbuffer tables out of bytes that nobody vouches for.

The generated Python classes trust the file, and flatbuffers has a verifier for C++ only
(https://flatbuffers.dev/languages/cpp/#access-of-untrusted-buffers). Here every read is checked against the end of the
bytes, and a budget in proportion to their size bounds time and memory: offsets may point anywhere, so a small file can
claim vectors of 2^32 elements, or the same large table a million times over.
"""

import struct

import numpy as np
from numpy.typing import NDArray

I8, U8, U16 = struct.Struct("<b"), struct.Struct("<B"), struct.Struct("<H")
I32, U32, U64 = struct.Struct("<i"), struct.Struct("<I"), struct.Struct("<Q")

TABLE_BYTES = 8  # what a table in a vector takes at least: its offset, and its own offset to its vtable
FIELDS = 16  # of a table; the tables read here have 14 at most, while a hostile vtable claims 32,765
MAX_TEXT = 10_000  # bytes of a name; the converter joins those of what it fused, a few hundred bytes in all
MAX_TABLES = 250_000  # in all vectors; the largest language models have some 100,000 tensors and ops
SHARING = 4  # an honest writer may share some strings and vectors, not everything
SLACK = 65536  # bytes of budget for the smallest files


class MalformedError(Exception):
    """The bytes are not what they claim to be; the message says why, as the end of a sentence."""


class Buffer:
    """Bytes with a budget of how much may be read from them in all."""

    __slots__ = ("data", "left", "tables")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.left = SHARING * len(data) + SLACK
        self.tables = MAX_TABLES

    def scalar(self, kind: struct.Struct, at: int) -> int:
        """The number at a byte offset; unpack_from alone would count negative offsets from the end."""
        if at < 0 or at + kind.size > len(self.data):
            raise MalformedError("it is cut off, or an offset points outside of it")
        value: int = kind.unpack_from(self.data, at)[0]
        return value

    def vector(self, at: int, item_bytes: int) -> tuple[int, int]:
        """(first byte, number of elements) of the vector whose offset stands at ``at``."""
        start = at + self.scalar(U32, at)
        count = self.scalar(U32, start)
        if start + 4 + count * item_bytes > len(self.data):
            raise MalformedError(f"a vector claims {count} elements, more than the file holds")
        self.left -= count * max(item_bytes, 1)
        if self.left < 0:
            raise MalformedError("its vectors overlap and claim more than the file holds")
        return start + 4, count


class Table:
    """One table; fields are named by their slot, which a flatbuffer schema never changes."""

    __slots__ = ("_at", "_fields", "_source")

    def __init__(self, source: Buffer, at: int) -> None:
        vtable = at - source.scalar(I32, at)
        count = min((source.scalar(U16, vtable) - 4) // 2, FIELDS)
        if count < 0 or vtable + 4 + 2 * count > len(source.data):
            raise MalformedError("a table is cut off")
        self._source, self._at = source, at
        self._fields: tuple[int, ...] = struct.unpack_from(f"<{count}H", source.data, vtable + 4)

    def _position(self, slot: int) -> int:
        """The field's byte offset in the file; 0 when the table does not have it."""
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
        """A vector of numbers as a read-only view, dtype with its byte order; empty when it is not there."""
        at, kind = self._position(slot), np.dtype(dtype)
        if not at:
            return np.empty(0, kind)
        start, count = self._source.vector(at, kind.itemsize)
        return np.frombuffer(self._source.data, kind, count, start)

    def ints(self, slot: int, dtype: str = "<i4") -> tuple[int, ...]:
        return tuple(self.array(slot, dtype).tolist())

    def text(self, slot: int) -> str:
        """A string, cut at MAX_TEXT; bytes that are not UTF-8 are replaced, because names are for people only."""
        at = self._position(slot)
        if not at:
            return ""
        start, count = self._source.vector(at, 1)
        return self._source.data[start : start + min(count, MAX_TEXT)].decode("utf-8", "replace")
