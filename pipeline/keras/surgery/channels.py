"""Rules that rewrite normalisation and scaling layers: a multiplication and an addition per channel."""

from typing import Any

import numpy as np

from pipeline.keras.surgery.builder import Builder, op
from pipeline.keras.surgery.graph import Call
from pipeline.keras.surgery.rsqrt import rsqrt

_EPSILON = 1e-7  # Keras's default epsilon, which the Normalization layer uses


def batch_normalization(build: Builder, call: Call) -> Any:
    """Rewrite normalisation of vectors, sequences and frames as that of images, which folds into a convolution."""
    old, rank = call.layer, call.x.shape.rank
    if rank not in (2, 3, 5) or list(old.axis) != [rank - 1] or old.renorm:
        return build.copy(call)
    config = old.get_config() | {"axis": [3]}
    y = build.put(
        call, lambda name: type(old).from_config(config | {"name": name}), build.wide(call),
        weights=old.get_weights(), **call.kwargs,
    )  # fmt: skip
    return build.narrow(call, y)


def layer_normalization(build: Builder, call: Call) -> Any:
    """Normalisation over the channels of each position: Ba et al., https://arxiv.org/abs/1607.06450."""
    old = call.layer
    if call.x.shape.rank > 4 or list(old.axis) != [call.x.shape.rank - 1]:
        return build.copy(call)
    y = _normalised(build, call, build.wide(call), [-1], old.epsilon)
    gamma = old.gamma.numpy() if old.scale else np.ones(y.shape[-1])
    return build.narrow(call, _trained(build, call, y, gamma, old.beta.numpy() if old.center else None))


def group_normalization(build: Builder, call: Call) -> Any:
    """Normalisation over all positions and the channels of a group: Wu and He, https://arxiv.org/abs/1803.08494."""
    from tf_keras import layers

    old, x = call.layer, call.x
    rank, channels = x.shape.rank, x.shape[-1]
    if rank not in (3, 4) or old.axis not in (-1, rank - 1) or not x.shape[1:].is_fully_defined():
        return build.copy(call)
    x = build.wide(call)
    groups = channels if old.groups == -1 else old.groups
    split, joined = (-1, groups, channels // groups), tuple(x.shape[1:])
    y = build.put(call, lambda name: layers.Reshape(split, name=name), x, suffix="_groups")
    y = _normalised(build, call, y, [1, 3], old.epsilon)
    y = build.put(call, lambda name: layers.Reshape(joined, name=name), y, suffix="_joined")
    gamma = old.gamma.numpy() if old.scale else np.ones(channels)
    return build.narrow(call, _trained(build, call, y, gamma, old.beta.numpy() if old.center else None))


def _normalised(build: Builder, call: Call, x: Any, axes: list[int], epsilon: float) -> Any:
    """(x - mean) / sqrt(variance + epsilon) over axes of x (n, a, b, c), as one layer per rounded result."""
    import tensorflow as tf
    from tf_keras import layers

    def add(kind: Any, *args: Any, suffix: str, **kwargs: Any) -> Any:
        return build.put(call, lambda name: kind(name=name), *args, suffix=suffix, **kwargs)

    axis = axes if len(axes) > 1 else axes[0]
    mean = add(op(tf.reduce_mean), x, suffix="_mean", axis=axis, keepdims=True)
    centred = add(layers.Subtract, [x, mean], suffix="_centred")
    square = add(layers.Multiply, [centred, centred], suffix="_square")
    variance = add(op(tf.reduce_mean), square, suffix="_variance", axis=axis, keepdims=True)
    inverse = add(rsqrt(), build.shifted(call, variance, epsilon, "_epsilon"), suffix="_inverse")
    return add(layers.Multiply, [centred, inverse], suffix="_normal")


def layer_scale(build: Builder, call: Call) -> Any:
    """ConvNeXt's LayerScale: a trained factor per channel."""
    return _trained(build, call, call.x, call.layer.get_weights()[0]) if call.x.shape.rank == 4 else build.copy(call)


def normalization(build: Builder, call: Call) -> Any:
    """The Normalization layer: (x - mean) / sqrt(variance) per channel."""
    old = call.layer
    if call.x.shape.rank != 4 or old.axis not in ((3,), (-1,)) or old.invert:
        return build.copy(call)
    mean, variance = (np.asarray(value, float).reshape(-1) for value in (old.mean, old.variance))
    deviation = np.maximum(np.sqrt(variance), _EPSILON)
    return build.affine(call, call.x, 1 / deviation, -mean / deviation)


def rescaling(build: Builder, call: Call) -> Any:
    """The Rescaling layer, as two steps if it multiplies and adds, because each rounded result has its own range."""
    scale, offset = np.asarray(call.layer.scale, float), np.asarray(call.layer.offset, float)
    if np.all(scale == 1) or np.all(offset == 0):
        return build.copy(call)
    if call.x.shape.rank == 4:
        return build.affine(call, call.x, scale, offset)
    return build.shifted(call, build.scaled(call, call.x, scale.tolist(), "_scale"), offset.tolist())


def _trained(build: Builder, call: Call, x: Any, gamma: Any, beta: Any = None) -> Any:
    """gamma * x + beta per channel of x (n, h, w, c), trained, as a depthwise 1x1 convolution."""
    from tf_keras import layers

    weights = [gamma.reshape(1, 1, -1, 1), *([] if beta is None else [beta])]
    biased = beta is not None
    return build.put(call, lambda name: layers.DepthwiseConv2D(1, use_bias=biased, name=name), x, weights=weights)
