"""What is no sound file: inconsistent, cut off, damaged, or none at all."""

import os
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ai_edge_litert import schema_py_generated as schema

from pipeline import tflite
from pipeline.core.errors import InputError
from pipeline.tflite import flatbuffer
from tests.support import fuzz
from tests.support.edits import edited

Models = dict[str, Path]


def facts(model: tflite.Model) -> tuple[Any, ...]:
    """Everything that a report asks of a model."""
    sums = model.macs, model.parameters, model.peak_activation_bytes, model.bytes, model.min_runtime_version
    tables = model.ops_count(), model.sparsity(), model.unique_values(), model.layers(), model.signature
    return *sums, *tables, model.quantization, model.integer_only, tuple(map(str, model.floats()))


def _set(**values: Any) -> Callable[[Any], None]:
    def edit(root: Any) -> None:
        for key, value in values.items():
            setattr(root, key, value)

    return edit


def _tensor(**values: Any) -> Callable[[Any], None]:
    def edit(root: Any) -> None:
        for key, value in values.items():
            setattr(root.subgraphs[0].tensors[0], key, value)

    return edit


def _op(**values: Any) -> Callable[[Any], None]:
    def edit(root: Any) -> None:
        for key, value in values.items():
            setattr(root.subgraphs[0].operators[-1], key, value)

    return edit


def _loop_that_runs_itself(root: Any) -> None:
    root.subgraphs[2].operators.append(next(op for op in root.subgraphs[0].operators if op.builtinOptionsType))
    root.subgraphs[2].operators[-1].inputs = root.subgraphs[2].operators[-1].outputs = []


@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        ("int8", _set(version=2), "schema is version 2"),
        ("int8", _set(subgraphs=[]), "no subgraphs"),
        ("int8", _tensor(shape=[1, -3, 16, 16]), "has the shape"),
        ("int8", _tensor(shape=[2**31 - 1] * 8), "claims"),
        ("int8", _tensor(shape=[1] * 40), "has the shape"),
        ("int8", _tensor(buffer=999), "buffer 999"),
        ("int8", _tensor(buffer=2), "bytes, and its buffer holds"),
        ("int8", _tensor(type=99), "type code 99"),
        ("int8", _tensor(externalBuffer=1), "another file"),
        ("int8", _op(inputs=[999]), "tensor 999"),
        ("int8", _op(inputs=[-2]), "tensor -2"),
        ("int8", _op(outputs=[-1]), "tensor -1"),
        ("int8", _op(outputs=[0]), "already there or read"),
        ("int8", _op(outputs=[1]), "already there or read"),
        ("int8", _op(opcodeIndex=99), "operator code 99"),
        ("loop", _loop_that_runs_itself, "in a circle"),
    ],
)
def test_inconsistent_files(models: Models, name: str, edit: Callable[[Any], None], message: str) -> None:
    with pytest.raises(InputError, match="not a valid") as error:
        tflite.read(edited(models[name], edit))
    assert message in str(error.value)


def test_ops_out_of_order(models: Models) -> None:
    with pytest.raises(InputError, match="already there or read"):
        tflite.read(edited(models["int8"], lambda root: root.subgraphs[0].operators.reverse()))


@pytest.mark.parametrize("code", [schema.TensorType.STRING, schema.TensorType.RESOURCE, schema.TensorType.VARIANT])
def test_scales_of_what_holds_no_numbers_are_refused(models: dict[str, Path], code: int) -> None:
    def edit(root: Any) -> None:
        graph = root.subgraphs[0]
        weights = next(graph.tensors[op.inputs[1]] for op in graph.operators if len(op.inputs) > 2)
        assert len(weights.quantization.scale) > 1
        weights.type = code

    with pytest.raises(InputError, match="scales; only numbers are quantized"):
        tflite.read(edited(models["int8"], edit))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"\x1c\0\0", "it is cut off"),
        (b"\x89PNG\r\n\x1a\n" * 9, "identifier TFL3"),
        (b"\x1c\0\0\0TFL3", "cut off"),
        (b"\xff\xff\xff\xffTFL3" + bytes(64), "cut off"),
        (b"\x08\0\0\0TFL3\xff\xff\xff\x7f" + bytes(64), "cut off"),
    ],
)
def test_no_model(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.tflite"
    path.write_bytes(content)
    for source in (content, path, str(path)):
        with pytest.raises(InputError, match=message):
            tflite.read(source)


def test_paths_that_hold_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        tflite.read(tmp_path / "missing.tflite")
    with pytest.raises(InputError, match="a folder, and no file"):
        tflite.read(tmp_path)
    with pytest.raises(InputError, match="a device, and no file"):
        tflite.read(os.devnull)


def test_a_small_file_can_not_claim_much() -> None:
    """A vector of many offsets to one and the same table would otherwise cost the square of the file's size."""
    count = 200_000
    table = struct.pack("<HHi", 4, 4, 4)  # a vtable without fields, and the table
    body = struct.pack("<I", count) + b"".join(struct.pack("<I", 4 * (count - i) + 4) for i in range(count)) + table
    vtable = struct.pack("<HHHHHH", 10, 12, 4, 0, 8, 0)
    root = struct.pack("<iII", len(vtable), 3, 4)  # version 3, and the vector of subgraphs
    content = struct.pack("<I4s", 8 + len(vtable), b"TFL3") + vtable + root + body
    with pytest.raises(InputError, match="200000 subgraphs"):
        tflite.read(content)


def test_vectors_that_overlap_are_refused() -> None:
    source = flatbuffer.Buffer(struct.pack("<II", 4, 100_000) + bytes(100_000))
    for _ in range(4):
        source.vector(0, 1)
    with pytest.raises(flatbuffer.MalformedError, match="overlap"):
        source.vector(0, 1)


def test_damaged_files_end_as_input_errors(models: Models) -> None:
    """3,000 damaged files: every one is refused with a sentence, or read with all of its facts."""
    rng = random.Random(20)
    seeds = [models[name].read_bytes() for name in ("int8", "float16", "elu", "lstm", "loop", "multi")]
    refused = 0
    for number in range(3000):
        damaged = fuzz.damage(seeds[number % len(seeds)], rng)
        try:
            facts(tflite.read(damaged))
        except InputError:
            refused += 1
    assert 1000 < refused < 3000
