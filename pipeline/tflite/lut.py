"""Weights that TFLite Micro decodes as it runs: the op TFLM_DECODE with a lookup table.

The layout is that of ``tflite_micro/tensorflow/lite/micro/compression/decode.py`` and ``lut.py`` (2026-10): a header of
16 bytes, then the tables. Byte 0 is the kind (0: a lookup table), 4 and 1 the versions, 5 the channel axis (high four
bits, 15 for none) and the bits of an index (low three), 6 the entries of each channel's table. Indices are packed with
the highest bit first.
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
    """The output as a constant; None for a kind of encoding other than a lookup table, or one that is computed.

    Raises MalformedError when its parts do not fit: TFLite Micro itself would read beyond them.
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
    """The first indices of packed ones, (count,)."""
    flags = np.unpackbits(raw[: -(-count * bits // 8)])[: count * bits].reshape(count, bits)
    codes: NDArray[np.integer[Any]] = np.zeros(count, np.uint8)
    for place in range(bits):
        codes = codes << 1 | flags[:, place]
    return codes
