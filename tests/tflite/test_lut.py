"""Lookup tables, read as the tools of TFLite Micro write them."""

import numpy as np
import pytest

from pipeline.tflite import lut
from pipeline.tflite.flatbuffer import MalformedError
from pipeline.tflite.graph import Tensor


def encoded(values, bits, axis):
    """What the tools of tflite-micro make of values: the encoded tensor, its description, the output."""
    compressor = pytest.importorskip("tflite_micro.tensorflow.lite.micro.compression.lut")
    from tflite_micro.tensorflow.lite.micro.compression import model_editor, spec

    mode = spec.PerTensor() if axis is None else spec.PerChannel(axis)
    tensor = model_editor.Tensor(shape=values.shape, dtype=9, data=values)  # 9 is INT8
    made = compressor.LutCompressor().compress(tensor, spec.LookUpTableCompression(bits, mode))
    parts = (np.frombuffer(part, np.uint8) for part in (made.encoded_data, made.ancillary_data))
    first, second = (Tensor(0, i, "", part.shape, part.shape, "UINT8", raw=part) for i, part in enumerate(parts))
    return first, second, Tensor(0, 2, "", values.shape, values.shape, "INT8")


@pytest.mark.parametrize("bits", range(1, 8))
@pytest.mark.parametrize("axis", [None, 0, 2])
def test_tables_are_read_as_the_tools_write_them(bits, axis):
    rng = np.random.default_rng(bits)
    values = rng.permutation(np.resize(np.arange(-(1 << bits - 1), 1 << bits - 1, dtype=np.int8), 5 * 40 * 5))
    values = values.reshape(5, 40, 5)
    found = lut.decode(*encoded(values, bits, axis))
    np.testing.assert_array_equal(found.data(), values)


@pytest.mark.parametrize(
    ("bytes_kept", "change"), [(8, {}), (18, {}), (32, {6: 2}), (32, {5: 0xF0}), (32, {5: 0x93})]
)  # cut off in the head, in the table; a shorter table; no bits; an axis that is not there
def test_tables_that_do_not_fit_are_malformed(bytes_kept, change):
    first, second, output = encoded(np.arange(-4, 4, dtype=np.int8).repeat(3).reshape(2, 12), 3, None)
    raw = second.raw[:bytes_kept].copy()
    for place, value in change.items():
        raw[place] = value
    with pytest.raises(MalformedError):
        lut.decode(first, Tensor(0, 1, "", raw.shape, raw.shape, "UINT8", raw=raw), output)
