"""A preprocessing contract for files with images, and changes to it."""

import json

import numpy as np
from ai_edge_litert.tools import flatbuffer_utils

from pipeline.data import contract
from pipeline.data.contract import Contract
from pipeline.tflite.metadata import embedded
from tests.support.tflite_models import SHAPE

RGB = Contract(
    task="classification", raw_dtype="uint8", range=(0, 255), scale=1 / 255, offset=0, shape=SHAPE, layout="NHWC",
    channels="rgb", labels=tuple("abcdefghij"),
)  # fmt: skip


def carried(content, contract_):
    """The file with that contract in its metadata."""
    return embedded(content, contract.NAME, contract_.encoded())


def with_metadata(path, raw, tmp_path):
    """A copy of the file whose contract is these bytes, whatever they are."""
    model = flatbuffer_utils.convert_bytearray_to_object(carried(path.read_bytes(), RGB))
    model.buffers[-1].data = np.frombuffer(raw, np.uint8)
    out = tmp_path / "changed.tflite"
    out.write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    return out


def changed(**fields):
    """The contract's bytes, with other values of some fields."""
    return json.dumps(json.loads(RGB.encoded()) | fields).encode()
