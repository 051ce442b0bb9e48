"""Metadata of a file: written and read, with nothing else changed."""

import json

import numpy as np
import pytest
from ai_edge_litert.tools import flatbuffer_utils

from pipeline import tflite
from pipeline.data import contract
from pipeline.data.contract import NAME
from pipeline.tflite import edit
from pipeline.verify import int8
from pipeline.verify.interpreters import litert, tflm
from tests.support.contracts import RGB, carried
from tests.support.tflite_models import SHAPE

SHAPES = [(1, *SHAPE)]


def metadata(content):
    return tflite.read(content).metadata


@pytest.mark.parametrize("name", ["float32", "int8", "int16x8", "lstm", "loop"])
def test_nothing_but_the_contract_is_added(models, name):
    content = models[name].read_bytes()
    carrying = carried(content, RGB)
    aligned = edit.ALIGNED * len(flatbuffer_utils.convert_bytearray_to_object(content).buffers)
    assert len(carrying) - len(content) < len(RGB.encoded()) + 80 + aligned
    model = flatbuffer_utils.convert_bytearray_to_object(carrying)
    model.buffers.pop(), model.metadata.pop()
    assert bytes(flatbuffer_utils.convert_object_to_bytearray(model)) == content
    assert carried(carrying, RGB) == carrying


def test_the_file_runs_as_before(models, images):
    content = models["int8"].read_bytes()
    carrying = carried(content, RGB)
    plain, more = tflite.read(content), tflite.read(carrying)
    assert int8.breaches(more) == int8.breaches(plain)
    assert np.array_equal(litert.run(carrying, images), litert.run(content, images))
    ((name, _),) = plain.signature.inputs.items()
    runs = [tflm.raw(model, {name: images[:4]}) for model in (plain, more)]
    assert all(np.array_equal(a, b) for a, b in zip(*(run.values() for run in runs), strict=True))


def test_what_was_written_is_read(models):
    carrying = metadata(carried(models["int8"].read_bytes(), RGB))
    assert contract.read(carrying, SHAPES) == (RGB, "")
    assert json.loads(carrying[NAME])["labels"] == list("abcdefghij")
    assert contract.read(metadata(models["int8"].read_bytes()), SHAPES) == (None, "the file carries none")
