"""Values between real numbers and the integers of a file, as the runtime rounds them."""

from pathlib import Path

import numpy as np
import pytest

from pipeline import tflite
from pipeline.core.errors import InputError
from pipeline.tflite.values import dequantize, quantize

Models = dict[str, Path]


def test_quantize_rounds_halves_away_from_zero_and_clamps() -> None:
    x = np.array([0.5, -0.5, 1.5, -1.5, 2.5, 0.49999997, -0.49999997, 126.6, 1e30, np.inf, -np.inf, 0.0], np.float32)
    assert quantize(x, 1.0, 0, "int8").tolist() == [1, -1, 2, -2, 3, 0, 0, 127, 127, 127, -128, 0]
    assert quantize(x[:2], 1.0, 128, "uint8").tolist() == [129, 127]
    assert quantize(np.abs(x), 1.0, 0, "int8").tolist() == [1, 1, 2, 2, 3, 0, 0, 127, 127, 127, 127, 0]
    assert quantize(np.array([[1.0, -1.0]]), 1 / 32768, 0, "int16").tolist() == [[32767, -32768]]


def test_quantize_refuses_nan() -> None:
    with pytest.raises(InputError, match="NaN"):
        quantize(np.array([1.0, np.nan]), 1.0, 0, "int8")


def test_quantize_is_the_same_for_any_size_and_layout() -> None:
    x = np.random.default_rng(0).normal(size=(3, 1 << 19, 1)).astype(np.float32)
    ratio = (x / np.float32(0.02)).astype(np.float64)
    expected = np.clip(np.sign(ratio) * np.floor(np.abs(ratio) + 0.5) - 5, -128, 127)
    np.testing.assert_array_equal(quantize(x, 0.02, -5, "int8"), expected)
    np.testing.assert_array_equal(quantize(x.T, 0.02, -5, "int8"), expected.T)


def test_dequantize() -> None:
    values = dequantize(np.array([-128, 0, 127], np.int8), 0.5, -128)
    assert values.dtype == np.float32
    assert values.tolist() == [0.0, 64.0, 127.5]


@pytest.mark.parametrize("scale", [0.0039215689, 0.02, 0.75])
def test_quantize_is_the_reference_kernels(models: Models, scale: float) -> None:
    """On ties and everything between, against the QUANTIZE op of a file that takes float32."""
    model = tflite.read(models["float_io"])
    (quantized,) = next(op for op in model.ops if op.name == "QUANTIZE").outputs
    assert quantized.scale is not None
    assert quantized.zero_point is not None
    steps = np.arange(16 * 16 * 3, dtype=np.float32).reshape(1, 16, 16, 3)
    x = (steps - 384) * np.float32(quantized.scale) * np.float32(scale)
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=model.content,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(model.inputs[0].index, x)
    interpreter.invoke()
    expected = interpreter.get_tensor(quantized.index)
    np.testing.assert_array_equal(quantize(x, quantized.scale, quantized.zero_point, "int8"), expected)
