"""Decode weights that are compressed with lookup tables, which TFLite Micro decodes at run time (op TFLM_DECODE).

The format is that of ``tflite_micro/tensorflow/lite/micro/compression/decode.py`` and ``lut.py`` (2026-10). The
ancillary tensor has a header of 16 bytes, followed by the tables. Header byte 0 is the kind of encoding (0: lookup
table), bytes 4 and 1 are versions, byte 5 has the channel axis in its high four bits (15: no axis, one table) and the
bits per index in its low three, and byte 6 is the number of entries of each channel's table. Indices are packed with
the most significant bit first.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.tflite.flatbuffer import MalformedError
from pipeline.tflite.graph import BITS, Tensor

DECODE = "TFLM_DECODE"
HEADER = 16  # bytes
_ONE_TABLE = 15


def decode(encoded: Tensor, ancillary: Tensor, output: Tensor) -> Tensor | None:
    """Return the output as a constant, or None if the encoding is not a known lookup table or is not constant.

    Raises MalformedError if sizes do not match, where TFLite Micro itself would read out of bounds.
    """
    if encoded.raw is None or ancillary.raw is None or BITS[output.dtype] % 8:
        return None
    head, tables = ancillary.raw[:HEADER], ancillary.raw[HEADER:]
    if head.size < HEADER:
        raise MalformedError(f"tensor {ancillary.index} describes an encoding in {head.size} of {HEADER} bytes")
    if head[0] != 0 or head[1] != 1 or head[4] != 1:
        return None
    bits, axis, stride = int(head[5]) & 7, int(head[5]) >> 4, int(head[6])
    size = BITS[output.dtype] // 8
    channels = 1 if axis == _ONE_TABLE else output.shape[axis] if axis < len(output.shape) else 0
    enough = encoded.raw.size * 8 >= output.elements * bits and tables.size >= channels * stride * size
    if not (bits and channels and enough):
        raise MalformedError(f"tensor {encoded.index} does not hold what it is said to encode, {output.shape}")
    codes = _unpack(encoded.raw, bits, output.elements)
    if codes.size and int(codes.max()) >= stride:
        raise MalformedError(f"tensor {encoded.index} points beyond its table of {stride} values")
    if axis != _ONE_TABLE:
        along = [1] * len(output.shape)
        along[axis] = channels
        starts = np.arange(channels).reshape(along) * stride
        codes = (codes.reshape(output.shape) + starts).reshape(-1)
    values = tables[: channels * stride * size].reshape(-1, size)[codes]
    return replace(output, raw=np.ascontiguousarray(values).reshape(-1))


def _unpack(raw: NDArray[np.uint8], bits: int, count: int) -> NDArray[np.integer[Any]]:
    """Unpack the first `count` indices, (count,), of `bits` bits each."""
    flags = np.unpackbits(raw[: -(-count * bits // 8)])[: count * bits].reshape(count, bits)
    codes: NDArray[np.integer[Any]] = np.zeros(count, np.uint8)
    for place in range(bits):
        codes = codes << 1 | flags[:, place]
    return codes
