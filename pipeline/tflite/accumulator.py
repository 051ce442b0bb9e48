"""Compute the accumulator of ops with weights, sum of products plus bias per output channel, in real values."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.tflite.graph import Op, Tensor

OPS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")

Array = NDArray[np.float64]
_SAME = 0  # Padding.SAME in the schema


def constant(tensor: Tensor) -> Array:
    """Return the dequantized values (*shape), float64, of a constant with scales per tensor or per channel."""
    values = tensor.data().astype(np.float64)
    if not tensor.scales:
        return values
    shape = np.ones(values.ndim, int)
    shape[tensor.axis] = len(tensor.scales)
    scales, zeros = (np.asarray(part, np.float64) for part in (tensor.scales, tensor.zero_points or (0,)))
    return (values - zeros.reshape(shape if zeros.size > 1 else 1)) * scales.reshape(shape)


def mean_sums(op: Op, x: Array, options: Any) -> Array:
    """Return the accumulator of an op in OPS, bias included and before the activation, averaged over positions.

    The result is (channels,). The accumulator is linear in x, so the result for the mean of several inputs is the mean
    of their results.

    x        (height, width, inputs); for FULLY_CONNECTED any shape whose values are rows of inputs
    options  the op's builtin options, as unpacked by the generated schema
    """
    weights = constant(op.weights[0])
    bias = op.sources[2] if len(op.sources) > 2 else None
    added = constant(bias) if bias is not None else 0.0
    if op.name == "FULLY_CONNECTED":
        return np.asarray(weights @ x.reshape(-1, weights.shape[1]).mean(axis=0) + added)
    taps = _taps(x, weights.shape[1:3], op.outputs[0].shape[1:3], options)
    if op.name == "DEPTHWISE_CONV_2D":
        return np.asarray(np.sum(weights[0] * np.repeat(taps, weights.shape[3] // x.shape[2], axis=2), (0, 1)) + added)
    groups = x.shape[2] // weights.shape[3]
    kernels = weights.reshape(
        groups, -1, *weights.shape[1:]
    )  # (groups, outputs of each, height, width, inputs of each)
    sums = np.einsum("gohwi,hwgi->go", kernels, taps.reshape(*taps.shape[:2], groups, -1))
    return np.asarray(sums.reshape(-1) + added)


def _taps(x: Array, kernel: tuple[int, ...], output: tuple[int, ...], options: Any) -> Array:
    """Return the mean input at each kernel position over all output positions: (kernel height, width, inputs)."""
    strides = options.strideH, options.strideW
    dilations = options.dilationHFactor, options.dilationWFactor
    spans = [(out - 1) * stride + 1 for out, stride in zip(output, strides, strict=True)]
    reach = [(size - 1) * dilation for size, dilation in zip(kernel, dilations, strict=True)]
    missing = [max(span + far - size, 0) for span, far, size in zip(spans, reach, x.shape, strict=False)]
    before = [total // 2 if options.padding == _SAME else 0 for total in missing]
    padded = np.pad(x, [*((start, total - start) for start, total in zip(before, missing, strict=True)), (0, 0)])
    taps = np.empty((*kernel, x.shape[2]))
    for row, column in np.ndindex(*kernel):
        top, left = row * dilations[0], column * dilations[1]
        met = padded[top : top + spans[0] : strides[0], left : left + spans[1] : strides[1]]
        taps[row, column] = met.mean(axis=(0, 1))
    return taps
