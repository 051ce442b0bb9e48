"""Facts of a file, against real converter output and against files built by hand."""

import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from pipeline import tflite
from pipeline.tflite import macs
from tests.support.edits import edited

Models = dict[str, Path]


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


def test_complex_numbers_inside_a_transform_are_no_other_quantization(foreign_models):
    assert tflite.read(foreign_models["rfft"]).quantization == "float32"


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


def test_a_model_survives_pickling(models: Models) -> None:
    model = tflite.read(models["int8"])
    again = pickle.loads(pickle.dumps(model))
    assert again.layers() == model.layers()
    assert again.sha256 == model.sha256


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
