"""Files that are changed and packed again: smaller, aligned, and the same to every reader."""

import numpy as np
import pytest
from ai_edge_litert.schema_py_generated import Model
from ai_edge_litert.tools import flatbuffer_utils

from pipeline import tflite
from pipeline.tflite import edit
from pipeline.verify.interpreters import litert, tflm


def packed(content):
    return edit.packed_tightly(edit.unpacked(content))


def data_starts(content):
    whole = np.frombuffer(content, np.uint8).ctypes.data
    file = Model.GetRootAs(content, 0)
    arrays = [file.Buffers(i).DataAsNumpy() for i in range(file.BuffersLength())]
    return [array.ctypes.data - whole for array in arrays if isinstance(array, np.ndarray) and array.size]


def test_equal_vectors_are_stored_once(models):
    content = models["int8"].read_bytes()
    channels = sum(len(t.scales) for t in tflite.read(content).subgraphs[0].tensors if len(t.scales) > 1)
    assert len(packed(content)) < len(content) - 4 * channels  # of 8 bytes a zero point, at least one half


@pytest.mark.parametrize("name", ["float32", "int8", "int16x8", "lstm"])
def test_weights_are_aligned_as_the_schema_says(models, name):
    starts = data_starts(packed(models[name].read_bytes()))
    assert starts
    assert all(start % edit.ALIGNED == 0 for start in starts)


@pytest.mark.parametrize("name", ["float32", "int8", "int16x8", "lstm", "loop"])
def test_the_objects_are_the_same(models, name):
    content = models[name].read_bytes()
    unpacked = (flatbuffer_utils.convert_bytearray_to_object(each) for each in (content, packed(content)))
    one, other = (bytes(flatbuffer_utils.convert_object_to_bytearray(each)) for each in unpacked)
    assert one == other


def test_the_file_runs_as_before(models, images):
    content = models["int8"].read_bytes()
    small = packed(content)
    for kernels in ("xnnpack", "reference"):
        assert np.array_equal(litert.run(small, images, kernels), litert.run(content, images, kernels))
    assert np.array_equal(tflm.run(small, images[:4]), tflm.run(content, images[:4]))
