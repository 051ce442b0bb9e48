"""The layers of each op, in a file's metadata: written, read, and not believed where they do not fit."""

import zlib
from pathlib import Path

import pytest

from pipeline import tflite
from pipeline.tflite import attribution, metadata

Files = dict[str, Path]


def stated(content: bytes, value: bytes) -> tflite.Model:
    return tflite.read(metadata.embedded(content, attribution.NAME, value))


def test_a_file_is_believed_about_its_layers(models: Files) -> None:
    content = models["int8"].read_bytes()
    ops = [*tflite.read(content).ops]
    lines = [[f"layer {op.index}", "block"] if op.name != "SOFTMAX" else [] for op in ops]
    model = stated(content, attribution.encoded(lines))
    assert model.layers_known
    assert [list(model.layers_of(op)) for op in model.ops] == lines
    assert [model.layer_of(op.outputs[0]) for op in model.ops] == [line[0] if line else "" for line in lines]
    assert [model.layer_of(op.weights[0]) for op in model.ops if op.weights] == [
        kernel.layers[0] for kernel in model.kernels().values()
    ]
    assert model.layer_of(model.inputs[0]) == "image"
    assert [row.name for row in model.layers()] == [line[0] if line else "scores" for line in lines]


def test_a_file_that_says_nothing_is_guessed_from_names(models: Files) -> None:
    model = tflite.read(models["int8"])
    assert not model.layers_known
    assert [row.name for row in model.layers() if row.weights_shape] == ["conv1", "dw", "pw", "logits"]
    assert {kernel.layers[0]: kernel.zeros for kernel in model.kernels().values()}["logits"] >= 80


@pytest.mark.parametrize(
    "value",
    [
        b"", b"junk", zlib.compress(b"conv1\nconv2"), zlib.compress(b"\xff\xfe" + b"\n" * 6),
        zlib.compress(b"\n" * (1 << 24)), zlib.compress(b"\n" * 6)[:-9],
    ],
    ids=["empty", "junk", "too few", "no text", "a bomb", "cut off"],
)  # fmt: skip
def test_what_does_not_fit_the_file_is_not_believed(models: Files, value: bytes) -> None:
    content = models["int8"].read_bytes()
    model = stated(content, value)
    assert not model.layers_known
    assert [row.name for row in model.layers()] == [row.name for row in tflite.read(content).layers()]
