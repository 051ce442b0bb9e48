"""pipeline.tflite against real converter output, against files built by hand, and against damaged ones."""

import os
import pickle
import random
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fuzz
import numpy as np
import pytest
import tflite_models
from ai_edge_litert import schema_py_generated as schema

from pipeline import tflite
from pipeline.core.errors import InputError
from pipeline.tflite import flatbuffer, macs

models = tflite_models.models
Models = dict[str, Path]


def facts(model: tflite.Model) -> tuple[Any, ...]:
    """Everything that a report asks of a model."""
    sums = model.macs, model.parameters, model.peak_activation_bytes, model.bytes, model.min_runtime_version
    tables = model.ops_count(), model.sparsity(), model.unique_values(), model.layers(), model.signature
    return *sums, *tables, model.quantization, model.integer_only, tuple(map(str, model.floats()))


def edited(path: Path, edit: Callable[[Any], None]) -> bytes:
    """A model whose unpacked flatbuffer was changed, packed again."""
    root = fuzz.unpack(path.read_bytes())
    edit(root)
    return fuzz.pack(root)


# ---- facts of real files


@pytest.mark.parametrize(
    ("name", "quantization", "integer_only"),
    [
        ("float32", "float32", False),
        ("float16", "float16", False),
        ("dynamic", "dynamic", False),
        ("int8", "int8", True),
        ("uint8_io", "int8", True),
        ("float_io", "int8", False),
        ("int16x8", "int16x8", True),
        ("batch_4", "int8", True),
        ("elu", "mixed", False),
        ("multi", "int8", True),
        ("lstm", "int8", True),
        ("loop", "float32", False),
    ],
)
def test_what_a_file_really_is(models: Models, name: str, quantization: str, integer_only: bool) -> None:
    model = tflite.read(models[name])
    assert model.quantization == quantization
    assert model.integer_only is integer_only
    assert bool(model.floats()) is not integer_only


def test_size_digest_and_metadata(models: Models) -> None:
    import hashlib

    content = models["int8"].read_bytes()
    model = tflite.read(content)
    assert (model.bytes, model.sha256, model.path) == (len(content), hashlib.sha256(content).hexdigest(), None)
    assert model.description == "MLIR Converted."
    assert model.min_runtime_version.count(".") == 2
    assert tflite.read(models["int8"]).path == str(models["int8"])


def test_input_and_output(models: Models) -> None:
    model = tflite.read(models["int8"])
    (image,), (scores,) = model.inputs, model.outputs
    assert (image.shape, image.dtype, image.zero_point) == ((1, 16, 16, 3), "INT8", -128)
    assert image.scale == pytest.approx(1 / 255, rel=0.01)
    assert (scores.shape, scores.dtype, scores.scale, scores.zero_point) == ((1, 10), "INT8", 1 / 256, -128)
    assert list(model.signature.inputs) == ["image"]
    assert list(model.signature.outputs) == ["scores"]
    assert model.signature.inputs["image"] is image


MACS = {"conv1": 16 * 16 * 8 * 3 * 3 * 3, "dw": 8 * 8 * 8 * 3 * 3, "pw": 8 * 8 * 16 * 8, "logits": 256 * 10}
PARAMETERS = {"conv1": 8 * 27 + 8, "dw": 72 + 8, "pw": 128 + 16, "logits": 2560 + 10}


@pytest.mark.parametrize("name", ["float32", "float16", "dynamic", "int8", "uint8_io", "float_io", "int16x8"])
def test_macs_and_parameters_by_hand(models: Models, name: str) -> None:
    model = tflite.read(models[name])
    layers = {layer.name: layer for layer in model.layers() if layer.macs}
    assert {name: layer.macs for name, layer in layers.items()} == MACS
    assert {name: layer.parameters for name, layer in layers.items()} == PARAMETERS
    assert model.macs == sum(MACS.values()) == 70_656
    assert model.parameters == sum(PARAMETERS.values()) == 3_018


def test_macs_of_a_batch_of_four(models: Models) -> None:
    assert tflite.read(models["batch_4"]).macs == 4 * 70_656


def test_macs_of_other_products(models: Models) -> None:
    """Each input pixel of a transposed convolution meets the whole kernel."""
    layers = {layer.op: layer for layer in tflite.read(models["products"]).layers()}
    assert layers["TRANSPOSE_CONV"].macs == 8 * 8 * 3 * (3 * 3 * 4)
    assert layers["BATCH_MATMUL"].macs == 16 * 64 * 16
    lstm = tflite.read(models["lstm"]).layers()[0]
    assert lstm.macs == 6 * 4 * (4 * 3 + 4 * 4)  # steps x gates x (input + recurrent matrix)


@pytest.mark.parametrize(("name", "element"), [("int8", 1), ("int16x8", 2), ("float32", 4), ("dynamic", 4)])
def test_peak_activation_bytes_by_hand(models: Models, name: str, element: int) -> None:
    """While conv1 runs, its input (16, 16, 3) and its output (16, 16, 8) live."""
    assert tflite.read(models[name]).peak_activation_bytes == 16 * 16 * (3 + 8) * element


def test_sparsity_and_unique_values_match_the_runtime(models: Models) -> None:
    from ai_edge_litert.interpreter import Interpreter

    model = tflite.read(models["int8"])
    interpreter = Interpreter(model_path=str(models["int8"]))
    details = {detail["name"]: detail for detail in interpreter.get_tensor_details()}
    assert len(model.sparsity()) == 4
    for name, sparsity in model.sparsity().items():
        values = interpreter.get_tensor(details[name]["index"])
        channels = np.moveaxis(values, details[name]["quantization_parameters"]["quantized_dimension"], 0)
        assert sparsity == np.mean(values == 0)
        assert model.unique_values()[name] == max(len(np.unique(channel)) for channel in channels)
    assert tflite.read(models["float32"]).sparsity()["net/logits/MatMul"] == 0.5


@pytest.mark.parametrize("name", ["float32", "int8", "int16x8", "lstm"])
def test_constants_match_the_runtime(models: Models, name: str) -> None:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(models[name]))
    constants = [tensor for tensor in tflite.read(models[name]).subgraphs[0].tensors if tensor.constant]
    assert constants
    for tensor in constants:
        np.testing.assert_array_equal(tensor.data(), interpreter.get_tensor(tensor.index))


def test_float_island_names_op_tensor_and_origin(models: Models) -> None:
    found = [str(use) for use in tflite.read(models["elu"]).floats()]
    assert found == [
        "DEQUANTIZE writes FLOAT32 'tfl.dequantize' (layer 'conv')",
        "ELU reads FLOAT32 'tfl.dequantize', made by DEQUANTIZE (layer 'conv')",
        "ELU writes FLOAT32 'model/conv/Elu' (layer 'conv')",
        "QUANTIZE reads FLOAT32 'model/conv/Elu', made by ELU (layer 'conv')",
    ]


def test_float_intermediates_of_an_lstm_are_not_data(models: Models) -> None:
    model = tflite.read(models["lstm"])
    listed = [tensor for tensor in model.subgraphs[0].tensors if tensor.floating]
    assert listed, "the converter lists ranges as float tensors"
    assert {*listed} <= {*next(model.ops).intermediates}
    assert model.integer_only
    assert {tensor.dtype for tensor in model.subgraphs[0].tensors if tensor.variable} == {"INT8", "INT16"}


def test_floats_in_any_subgraph(models: Models) -> None:
    model = tflite.read(models["loop"])
    assert len(model.subgraphs) == 3
    assert {use.subgraph for use in model.floats()} >= {0, 2}
    assert next(op for op in model.ops if op.name == "WHILE").calls == (1, 2)
    assert model.ops_count() == {"ADD": 1, "FULLY_CONNECTED": 1, "LESS": 1, "WHILE": 1}


def test_several_inputs_and_outputs_by_name(models: Models) -> None:
    ports = tflite.read(models["multi"]).signature
    assert {name: tensor.shape for name, tensor in ports.inputs.items()} == {"zeta": (1, 4), "alpha": (1, 6)}
    assert {name: tensor.shape for name, tensor in ports.outputs.items()} == {"total": (1, 5), "extra": (1, 2)}


def test_open_batch_size(models: Models) -> None:
    (image,) = tflite.read(models["any_batch"]).inputs
    assert image.shape == (1, 16, 16, 3)
    assert image.shape_signature == (-1, 16, 16, 3)


def test_layers_have_the_reports_fields(models: Models) -> None:
    layer = tflite.read(models["int8"]).layers()[0]
    assert layer == tflite.Layer(
        index=0,
        subgraph=0,
        op="CONV_2D",
        version=layer.version,
        name="conv1",
        shape=(1, 16, 16, 8),
        dtype="INT8",
        scale=layer.scale,
        zero_point=-128,
        weights_shape=(8, 3, 3, 3),
        weights_dtype="INT8",
        weights_scales=8,
        sparsity=0.0,
        unique_values=layer.unique_values,
        macs=MACS["conv1"],
        parameters=PARAMETERS["conv1"],
    )
    assert [layer.name for layer in tflite.read(models["int8"]).layers()] == [
        "conv1", "dw", "pw", "pool", "flat", "logits", "scores",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("net/relu1/Relu;net/bn1/FusedBatchNormV3;net/conv1/Conv2D1", "conv1"),
        ("net/quant_relu1/Relu;net/quant_bn1/FusedBatchNormV3;net/quant_conv1/Conv2D1", "conv1"),
        ("net/quant_conv1/Conv2D;net/quant_conv1/LastValueQuant/FakeQuantWithMinMaxVarsPerChannel", "conv1"),
        ("net/relu6/Relu6;net/bn2/FusedBatchNormV3;net/dw/depthwise1", "dw"),
        ("net/logits/MatMul;net/logits/BiasAdd", "logits"),
        ("net/sep/separable_conv2d/depthwise1", "sep"),
        ("net/up/conv2d_transpose1", "up"),
        ("net/gap/Mean/reduction_indices", "gap"),
        ("net/backbone/conv1/Conv2D", "backbone/conv1"),
        ("dense/MatMul", "dense"),
        ("serving_default_image:0", "image"),
        ("Identity", "Identity"),
        ("arith.constant11", "arith.constant11"),
        ("StatefulPartitionedCall:0", ""),
        ("StatefulPartitionedCall:01", ""),
        ("", ""),
        (";/;", ""),
    ],
)
def test_layer_name(name: str, layer: str) -> None:
    assert tflite.layer_name(name) == layer


def test_keras_layers_of_a_fused_tensor() -> None:
    name = "net/quant_relu1/Relu;net/bn1/FusedBatchNormV3;net/backbone/conv1/Conv2D1"
    assert tflite.keras_layers(name) == {"relu1", "bn1", "backbone/conv1", "conv1"}
    assert tflite.keras_layers("StatefulPartitionedCall:0") == frozenset()


def test_a_model_survives_pickling(models: Models) -> None:
    model = tflite.read(models["int8"])
    again = pickle.loads(pickle.dumps(model))
    assert again.layers() == model.layers()
    assert again.sha256 == model.sha256


def test_reading_is_quick(models: Models) -> None:
    tflite.read(models["int8"])
    start = time.perf_counter()
    for _ in range(10):
        facts(tflite.read(models["int8"]))
    assert (time.perf_counter() - start) / 10 < 0.05  # 2 ms on a quiet machine


# ---- files built by hand, for what the converter seldom makes


def test_custom_op(models: Models) -> None:
    def edit(root: Any) -> None:
        root.operatorCodes[0].builtinCode = schema.BuiltinOperator.CUSTOM
        root.operatorCodes[0].deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        root.operatorCodes[0].customCode = b"FlexErf"

    model = tflite.read(edited(models["multi_float"], edit))
    ops = [op for op in model.ops if op.custom]
    assert {op.name for op in ops} == {"FlexErf"}
    assert model.ops_count()["FlexErf"] == len(ops)
    assert {macs.count(op) for op in ops} == {None}


def test_no_signature(models: Models) -> None:
    def edit(root: Any) -> None:
        root.signatureDefs = None

    ports = tflite.read(edited(models["multi"], edit)).signature
    assert list(ports.inputs) == ["serving_default_zeta:0", "serving_default_alpha:0"]  # the file's order
    assert len(ports.outputs) == 2


def test_int4_weights(models: Models) -> None:
    """Two elements a byte, the first in the lower half."""

    def edit(root: Any) -> None:
        graph = root.subgraphs[0]
        op = next(op for op in graph.operators if len(op.inputs) > 1 and len(graph.tensors[op.inputs[1]].shape) == 2)
        weights = graph.tensors[op.inputs[1]]
        weights.type = schema.TensorType.INT4
        count = int(np.prod(weights.shape))
        root.buffers[weights.buffer].data = np.resize(np.array([0x8F, 0x70], np.uint8), -(-count // 2))

    model = tflite.read(edited(models["multi"], edit))
    (name,) = [op.weights[0].name for op in model.ops if op.weights and op.weights[0].dtype == "INT4"]
    values = next(w.data() for op in model.ops for w in op.weights if w.name == name)
    assert values.reshape(-1)[:4].tolist() == [-1, -8, 0, 7]
    assert model.unique_values()[name] == 4
    assert model.sparsity()[name] == pytest.approx(0.25, abs=0.05)
    assert model.quantization == "int8x4"


def test_zero_is_the_zero_point(models: Models) -> None:
    def edit(root: Any) -> None:
        graph = root.subgraphs[0]
        weights = next(tensor for tensor in graph.tensors if tensor.name == b"net/logits/MatMul")
        weights.quantization.zeroPoint = np.arange(10, dtype=np.int64)
        root.buffers[weights.buffer].data = np.repeat(np.arange(10, dtype=np.uint8), 256)

    assert tflite.read(edited(models["int8"], edit)).sparsity()["net/logits/MatMul"] == 1.0


def test_weights_behind_the_flatbuffer(models: Models) -> None:
    """Files over 2 GB keep their buffers after the flatbuffer, by offset and size."""
    plain = tflite.read(models["int8"])
    values: list[bytes] = []

    def edit(root: Any) -> None:
        for buffer in root.buffers:
            if buffer.data is not None and len(buffer.data) > 100:
                values.append(bytes(buffer.data))
                buffer.data, buffer.offset, buffer.size = None, (1 << 40) + len(values), len(values[-1])

    content = bytearray(edited(models["int8"], edit))
    for number, value in enumerate(values, start=1):
        place = content.index(struct.pack("<Q", (1 << 40) + number))
        content[place : place + 8] = struct.pack("<Q", len(content))
        content += value
    model = tflite.read(bytes(content))
    assert {op.name for op in model.ops} == {op.name for op in plain.ops}
    assert sorted(model.unique_values().values()) == sorted(plain.unique_values().values())


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


# ---- what is no model at all


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
    with pytest.raises(InputError, match="it is a directory"):
        tflite.read(tmp_path)
    with pytest.raises(InputError, match="not a regular file"):
        tflite.read(os.devnull)


def test_a_small_file_can_not_claim_much() -> None:
    """A vector of many offsets to one and the same table would otherwise cost the square of the file's size."""
    count = 200_000
    table = struct.pack("<HHi", 4, 4, 4)  # a vtable without fields, and the table
    body = struct.pack("<I", count) + b"".join(struct.pack("<I", 4 * (count - i) + 4) for i in range(count)) + table
    vtable = struct.pack("<HHHHHH", 10, 12, 4, 0, 8, 0)
    root = struct.pack("<iII", len(vtable), 3, 4)  # version 3, and the vector of subgraphs
    content = struct.pack("<I4s", 8 + len(vtable), b"TFL3") + vtable + root + body
    start = time.perf_counter()
    with pytest.raises(InputError, match="200000 subgraphs"):
        tflite.read(content)
    assert time.perf_counter() - start < 5


def test_vectors_that_overlap_are_refused() -> None:
    source = flatbuffer.Buffer(struct.pack("<II", 4, 100_000) + bytes(100_000))
    for _ in range(4):
        source.vector(0, 1)
    with pytest.raises(flatbuffer.MalformedError, match="overlap"):
        source.vector(0, 1)


# ---- damaged files


def test_damaged_files_end_as_input_errors(models: Models) -> None:
    """3,000 damaged files: every one is refused with a sentence, or read with all of its facts, and quickly."""
    rng = random.Random(20)
    seeds = [models[name].read_bytes() for name in ("int8", "float16", "elu", "lstm", "loop", "multi")]
    refused, slowest = 0, 0.0
    for number in range(3000):
        damaged = fuzz.damage(seeds[number % len(seeds)], rng)
        start = time.perf_counter()
        try:
            facts(tflite.read(damaged))
        except InputError:
            refused += 1
        slowest = max(slowest, time.perf_counter() - start)
    assert 1000 < refused < 3000
    assert slowest < 2
