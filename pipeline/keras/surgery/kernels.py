"""Rules that rewrite layers with kernels: as 2D convolutions, with only activations that TFLite's op can fuse."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pipeline.keras.surgery.builder import Builder, op
from pipeline.keras.surgery.graph import Call

FUSED = ("linear", "relu", "relu6")  # activations that a TFLite op applies itself
_SHARED = ("use_bias", "kernel_regularizer", "bias_regularizer", "kernel_constraint", "bias_constraint")


def convolution(build: Builder, call: Call) -> Any:
    """Conv2D, DepthwiseConv2D and Conv2DTranspose: only the activation is rewritten."""
    return _activated(build, call, lambda linear: _linear(build, call) if linear else build.copy(call))


def dense(build: Builder, call: Call) -> Any:
    """A dense layer, as a 1x1 convolution (one scale per channel) before normalisation or on inputs with positions."""
    from tf_keras import layers

    rank = call.x.shape.rank
    normalised = isinstance(call.reader, layers.BatchNormalization)
    if rank > 4 or (rank == 2 and not normalised):
        return convolution(build, call)
    return _convolution(build, call, layers.Conv2D, _SHARED, filters=call.layer.units, kernel_size=1)


def einsum_dense(build: Builder, call: Call) -> Any:
    """EinsumDense that maps the last axis of (n, channels) or (n, length, channels) to one or more axes."""
    from tf_keras import layers

    old, rank = call.layer, call.x.shape.rank
    inputs, rest = old.equation.replace(" ", "").replace("...", "").split(",")
    kernel, outputs = rest.split("->")
    new = kernel[1:]
    dense = kernel[:1] == inputs[-1:] and outputs == inputs[:-1] + new and not set(new) & set(inputs)
    if not dense or rank not in (2, 3) or not call.x.shape[1:].is_fully_defined():
        return build.copy(call)
    weights, *bias = old.get_weights()
    shape = weights.shape[1:]
    if bias and bias[0].ndim > len(shape):  # it differs by position
        return build.copy(call)
    filters = int(np.prod(shape))
    values = [weights.reshape(1, 1, -1, filters), *(np.broadcast_to(each, shape).reshape(-1) for each in bias)]
    settings = {"filters": filters, "kernel_size": 1, "use_bias": bool(bias), "trainable": old.trainable}
    settings |= {name: getattr(old, name) for name in ("kernel_regularizer", "bias_regularizer")}
    wide = build.wide(call)
    y = _activated(build, call, lambda linear: _put(build, call, layers.Conv2D, settings, wide, values, linear))
    if len(shape) == 1:
        return build.narrow(call, y)
    axes = (*call.x.shape[1:-1], *shape)
    return build.put(call, lambda name: layers.Reshape(axes, name=name), y, suffix="_axes")


def conv1d(build: Builder, call: Call) -> Any:
    from tf_keras import layers

    if call.layer.data_format != "channels_last":
        return build.copy(call)
    return _convolution(build, call, layers.Conv2D, ("filters", "groups", *_SHARED), **_along(call))


def conv3d(build: Builder, call: Call) -> Any:
    """A convolution over frames, as one over images whose channels are those of all frames that the kernel covers.

    x (n, d, h, w, c) becomes (n * d', h, w, k * c) for a kernel of k frames and d' results along d. TFLite has no int8
    kernel for CONV_3D.
    """
    from tf_keras import layers

    old = call.layer
    fits = old.data_format == "channels_last" and old.groups == 1 and call.x.shape[1:].is_fully_defined()
    if not fits or old.dilation_rate[0] > 1:
        return build.copy(call)
    x, frames = _covered(build, call)
    kernel, *bias = old.get_weights()  # (k, height, width, c, filters)
    weights = [kernel.transpose(1, 2, 0, 3, 4).reshape(*kernel.shape[1:3], -1, kernel.shape[-1]), *bias]
    settings = {name: getattr(old, name) for name in ("filters", "padding", *_SHARED)} | {
        "kernel_size": old.kernel_size[1:], "strides": old.strides[1:], "dilation_rate": old.dilation_rate[1:],
        "trainable": old.trainable,
    }  # fmt: skip
    y = _activated(build, call, lambda linear: _put(build, call, layers.Conv2D, settings, x, weights, linear))
    return build.narrow(call, y, frames)


def _covered(build: Builder, call: Call) -> tuple[Any, int]:
    """The frames that each result of a 3D convolution depends on, as channels: (n * d', h, w, k * c), and d'.

    Slices are taken of (n, d, h * w, c), because TFLite Micro slices at most four dimensions.
    """
    import tensorflow as tf
    from tf_keras import layers

    old, (depth, *rest) = call.layer, call.x.shape[1:]
    size, stride, pixels = old.kernel_size[0], old.strides[0], (rest[0] * rest[1], rest[2])
    missing = max((-(-depth // stride) - 1) * stride + size - depth, 0) if old.padding == "same" else 0
    around = (missing // 2, missing - missing // 2), (0, 0)
    count = (depth + missing - size) // stride + 1
    x = build.put(call, lambda name: layers.Reshape((depth, *pixels), name=name), call.x, suffix="_pixels")
    if missing:
        x = build.put(call, lambda name: layers.ZeroPadding2D(around, name=name), x, suffix="_padded")

    def frames(first: int) -> Any:
        """Every `stride`-th frame from `first` on, of which there are `count`."""
        ends = [0, first, 0, 0], [0, first + (count - 1) * stride + 1, *pixels], [1, stride, 1, 1]
        return build.put(
            call, lambda name: op(tf.strided_slice)(name=name), x, *ends, suffix=f"_frame_{first}",
            begin_mask=1, end_mask=1,
        )  # fmt: skip

    taken = [frames(first) for first in range(size)]
    if size > 1:
        x = build.put(call, lambda name: layers.Concatenate(name=name), taken, suffix="_covered")
    return build.reshaped(call, x if size > 1 else taken[0], [-1, *rest[:2], size * rest[2]], "_images"), count


def depthwise_conv1d(build: Builder, call: Call) -> Any:
    from tf_keras import layers

    if call.layer.data_format != "channels_last":
        return build.copy(call)
    names = ("depth_multiplier", "use_bias", "depthwise_regularizer", "bias_regularizer")
    return _convolution(build, call, layers.DepthwiseConv2D, names, **_along(call))


def separable_conv2d(build: Builder, call: Call) -> Any:
    """A depthwise convolution and a 1x1 convolution, because TFLite rounds the values between them."""
    old = call.layer
    settings = {name: getattr(old, name) for name in ("kernel_size", "strides", "padding", "dilation_rate")}
    return _separable(build, call, call.x, settings, old.get_weights())


def separable_conv1d(build: Builder, call: Call) -> Any:
    if call.layer.data_format != "channels_last":
        return build.copy(call)
    depthwise, pointwise, *bias = call.layer.get_weights()
    wide = _padded(build, call, build.wide(call))
    weights = [depthwise[np.newaxis], pointwise[np.newaxis], *bias]
    return build.narrow(call, _separable(build, call, wide, _along(call), weights))


def _separable(build: Builder, call: Call, x: Any, settings: dict[str, Any], weights: Sequence[Any]) -> Any:
    from tf_keras import layers

    old = call.layer
    first = {"depth_multiplier": old.depth_multiplier, "use_bias": False, "trainable": old.trainable, **settings}
    second = {
        "filters": old.filters, "kernel_size": 1, "use_bias": old.use_bias, "trainable": old.trainable,
        "kernel_regularizer": old.pointwise_regularizer,
    }  # fmt: skip
    depthwise, *rest = weights
    y = build.put(
        call, lambda name: layers.DepthwiseConv2D(**first, name=name), x, suffix="_depthwise", weights=[depthwise]
    )
    return _activated(build, call, lambda linear: _put(build, call, layers.Conv2D, second, y, rest, linear))


def _convolution(build: Builder, call: Call, kind: Any, names: Sequence[str], **settings: Any) -> Any:
    """A layer that works on vectors or along one axis, as a convolution over (n, 1, length, channels)."""
    old = call.layer
    settings |= {name: getattr(old, name) for name in names} | {"trainable": old.trainable}
    kernel, *bias = old.get_weights()
    weights = [kernel.reshape((1,) * (4 - kernel.ndim) + kernel.shape), *bias]
    wide = _padded(build, call, build.wide(call))
    y = _activated(build, call, lambda linear: _put(build, call, kind, settings, wide, weights, linear))
    return build.narrow(call, y)


def _put(
    build: Builder, call: Call, kind: Any, settings: dict[str, Any], x: Any, weights: Sequence[Any], linear: bool
) -> Any:
    activation = None if linear else call.layer.activation
    suffix = "_linear" if linear else ""
    return build.put(
        call, lambda name: kind(**settings, activation=activation, name=name), x, suffix=suffix, weights=weights
    )


def _activated(build: Builder, call: Call, kernel: Callable[[bool], Any]) -> Any:
    """A layer with a kernel; an activation that its TFLite op can't fuse becomes a separate layer.

    kernel: makes the layer's result, or with `True` the result before the activation.
    """
    from tf_keras import layers

    function = call.layer.activation
    name = getattr(function, "__name__", "")
    if name in FUSED:
        return kernel(False)
    if name == "hard_sigmoid":
        return build.hard_sigmoid(call, kernel(True))
    return build.put(call, lambda name: layers.Activation(function, name=name), kernel(True))


def _linear(build: Builder, call: Call) -> Any:
    old = call.layer
    config = old.get_config() | {"activation": "linear"}
    return build.put(
        call, lambda name: type(old).from_config(config | {"name": name}), *call.args, suffix="_linear",
        weights=old.get_weights(), **call.kwargs,
    )  # fmt: skip


def _along(call: Call) -> dict[str, Any]:
    """Arguments of a 1D convolution, for two axes. The stride applies to both, which a height of 1 allows."""
    old = call.layer
    size, stride, dilation = (int(np.max(value)) for value in (old.kernel_size, old.strides, old.dilation_rate))
    padding = "valid" if old.padding == "causal" else old.padding
    return {"kernel_size": (1, size), "strides": stride, "dilation_rate": (1, dilation), "padding": padding}


def _padded(build: Builder, call: Call, wide: Any) -> Any:
    """The input with the zeros that a causal convolution needs before the first position."""
    from tf_keras import layers

    old = call.layer
    if getattr(old, "padding", None) != "causal":
        return wide
    before = int(np.max(old.dilation_rate)) * (int(np.max(old.kernel_size)) - 1)
    return build.put(call, lambda name: layers.ZeroPadding2D(((0, 0), (before, 0)), name=name), wide, suffix="_causal")
