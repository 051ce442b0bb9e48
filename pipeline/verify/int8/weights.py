"""Rules R2 to R7, R12 and R16 for weights and biases."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipeline.tflite import int8_spec
from pipeline.tflite.graph import Op, Tensor
from pipeline.verify.int8.rule import COMPUTED, OpBreach, number

TOLERANCE = 1e-5  # relative; correct files are within 1e-6, the rounding of a float32 product
TINY = float(np.finfo(np.float32).tiny)  # smaller scales are subnormal and lose digits
BITS = {"INT4": 4, "INT8": 8}
HOLDS = {"INT32": 2**31 - 1, "INT64": 2**63 - 1}
BIASES = {"INT8": ("INT32",), "INT16": ("INT64",)}
SHORT_BIASES = {"FULLY_CONNECTED": ("INT64", "INT32")}  # with int16 activations the kernel supports both


def _products(op: Op) -> Iterator[tuple[int8_spec.Product, Tensor, Tensor, Tensor | None]]:
    """Each product of int8 or int16 data with quantized weights: (its entry in the spec, data, weights, bias)."""
    for product in int8_spec.PRODUCTS.get(op.name, ()):
        data, weights, bias = (_at(op, slot) for slot in (product.data, product.weights, product.bias))
        if data is not None and weights is not None and data.dtype in COMPUTED and not weights.floating:
            yield product, data, weights, bias


def _at(op: Op, slot: int) -> Tensor | None:
    return op.sources[slot] if slot < len(op.sources) else None


def _quantized_weights(op: Op) -> Iterator[Tensor]:
    """Constant weights that an op multiplies with int8 or int16 data, including recurrent matrices of an LSTM."""
    if any(_products(op)):
        yield from (tensor for tensor in dict.fromkeys(op.weights) if tensor.dtype in BITS)


def valid_scales(op: Op) -> Iterator[OpBreach]:
    """R2: weight scales are positive and finite."""
    for tensor in _quantized_weights(op):
        scales = np.array(tensor.scales)
        bad = scales[~(np.isfinite(scales) & (scales > 0))]
        if not tensor.quantized or bad.size:
            received = number(bad[0]) if bad.size else "missing"
            yield OpBreach(op, tensor, "scale of the weights", received, "positive and finite")


def narrow_range(op: Op) -> Iterator[OpBreach]:
    """R3: int8 weights lie in -127..127, so that the sum of two products can't overflow 16 bits; int4 in -7..7."""
    for tensor in _quantized_weights(op):
        values = tensor.data()
        least = 1 - (1 << BITS[tensor.dtype] - 1)
        if values.size and values.min() < least:
            yield OpBreach(op, tensor, "smallest weight", str(values.min()), f"at least {least}")


def symmetric(op: Op) -> Iterator[OpBreach]:
    """R4: weights have the zero point 0. Computed weights of FULLY_CONNECTED may have another one: its kernels
    subtract it."""
    computed = (weights for _, _, weights, _ in _products(op) if not weights.constant and op.name != "FULLY_CONNECTED")
    for weights in (*computed, *_quantized_weights(op)):
        if points := [point for point in weights.zero_points if point]:
            yield OpBreach(op, weights, "zero point of the weights", str(points[0]), "0")


def channel_axis(op: Op) -> Iterator[OpBreach]:
    """R5: scales of weights lie along the output channels."""
    for product, _, weights, _ in _products(op):
        if weights.block_size:
            received, expected = f"in blocks of {weights.block_size}", "per tensor or per channel"
            yield OpBreach(op, weights, "quantization of the weights", received, expected)
        elif len(weights.scales) > 1 and weights.axis != product.axis:
            expected = "none, one scale for the tensor" if product.axis is None else str(product.axis)
            yield OpBreach(op, weights, "axis of the weights' scales", str(weights.axis), expected)


def per_channel(op: Op) -> Iterator[OpBreach]:
    """R6: convolutions have a scale for each channel.

    Dense layers with a single scale are allowed; quantization-aware training produces them.
    """
    for product, _, weights, _ in _products(op):
        if product.axis is None or op.name == "FULLY_CONNECTED" or product.axis >= len(weights.shape):
            continue
        channels = weights.shape[product.axis]
        if len(weights.scales) == 1 and channels > 1:
            yield OpBreach(op, weights, "number of scales of the weights", "1", f"{channels}, one for each channel")


def bias_scale(op: Op) -> Iterator[OpBreach]:
    """R7: a bias is int32 with zero point 0 and scale = input scale x weight scale.

    An LSTM with layer normalization is skipped: its bias scales follow from the normalization's coefficients, and no
    such file was available to test this.
    """
    if op.name == "UNIDIRECTIONAL_SEQUENCE_LSTM" and _at(op, int8_spec.LAYER_NORM) is not None:
        return
    for _, data, weights, bias in _products(op):
        if bias is None:
            continue
        if data.dtype == "INT8" and bias.dtype not in BIASES["INT8"]:
            yield OpBreach(op, bias, "type of the bias", bias.dtype, "INT32")
        if any(bias.zero_points):
            yield OpBreach(op, bias, "zero point of the bias", str(next(filter(None, bias.zero_points))), "0")
        if data.scale is not None and weights.scales:
            yield from _derived(op, bias, data.scale, np.array(weights.scales))


def _derived(op: Op, bias: Tensor, scale: float, weights: NDArray[np.float64]) -> Iterator[OpBreach]:
    """R7: the bias scale of each channel is input scale x weight scale.

    For a bias of zeros a wrong scale is only a warning: the int16x8 converter shares one such bias between
    convolutions.
    """
    with np.errstate(all="ignore"):  # R2 reports scales that are not finite
        found, wanted = np.array(bias.scales), scale * weights
    if not found.size or (found.size > 1 < wanted.size and found.size != wanted.size):
        yield OpBreach(
            op, bias, "number of scales of the bias", str(found.size), f"{wanted.size}, as many as the weights'"
        )
        return
    found, wanted = np.broadcast_arrays(found, wanted)
    wrong = np.flatnonzero(~np.isclose(found, wanted, rtol=TOLERANCE, atol=TINY, equal_nan=True))
    if wrong.size:
        first = int(wrong[0])
        where = f" of channel {first} ({wrong.size} of {wanted.size} are wrong)" if wanted.size > 1 else ""
        expected = f"input scale x weight scale = {number(wanted[first])}"
        harmless = bias.constant and not bias.data().any()
        yield OpBreach(op, bias, f"bias scale{where}", number(found[first]), expected, "warn" if harmless else None)


def wide_bias(op: Op) -> Iterator[OpBreach]:
    """R12: biases of int16 data are int64; for FULLY_CONNECTED int32 is allowed too."""
    for _, data, _, bias in _products(op):
        allowed = SHORT_BIASES.get(op.name, BIASES["INT16"])
        if data.dtype == "INT16" and bias is not None and bias.dtype not in allowed:
            yield OpBreach(op, bias, "type of the bias", bias.dtype, " or ".join(allowed))


def dead_channels(op: Op) -> Iterator[OpBreach]:
    """R16: no channel has only zero weights. Only a warning: MLPerf Tiny's visual wake words model, a healthy network,
    has nine convolutions with such channels."""
    for product, _, weights, _ in _products(op):
        if product.axis is None or not weights.constant or product.axis >= len(weights.shape):
            continue
        values = weights.data()
        if values.ndim != len(weights.shape):  # sparse, or strings
            continue
        others = tuple(axis for axis in range(len(weights.shape)) if axis != product.axis)
        alive = np.any(values, axis=others)
        if not alive.all():
            received = f"{np.count_nonzero(~alive)} of {alive.size}"
            yield OpBreach(op, weights, "number of channels whose weights are all zero", received, "0")


def saturated_bias(op: Op) -> Iterator[OpBreach]:
    """R16: no bias is at the end of its type's range, where the converter would have clipped it."""
    for _, _, _, bias in _products(op):
        if bias is None or not bias.constant or bias.dtype not in HOLDS:
            continue
        values = bias.data()
        ends = np.array([HOLDS[bias.dtype], -HOLDS[bias.dtype], -HOLDS[bias.dtype] - 1])
        cut = values[np.isin(values, ends)]
        if cut.size:
            received = f"{cut[0]} in {cut.size} of {values.size} channels"
            yield OpBreach(op, bias, "bias", received, f"inside of the range of {bias.dtype}")
