"""Rules that rewrite normalisation and scaling layers: a multiplication and an addition per channel."""

from typing import Any

import numpy as np

from pipeline.keras.surgery import raw
from pipeline.keras.surgery.builder import Builder
from pipeline.keras.surgery.graph import Call
from pipeline.keras.surgery.rsqrt import rsqrt

_EPSILON = 1e-7  # Keras's default epsilon, which the Normalization layer uses


def batch_normalization(build: Builder, call: Call) -> Any:
    """Rewrite normalisation of vectors and sequences as that of images, which folds into a convolution."""
    old, rank = call.layer, call.x.shape.rank
    if rank not in (2, 3) or list(old.axis) != [rank - 1] or old.renorm:
        return build.copy(call)
    config = old.get_config() | {"axis": [3]}
    y = build.put(
        call, lambda name: type(old).from_config(config | {"name": name}), build.wide(call),
        weights=old.get_weights(), **call.kwargs,
    )  # fmt: skip
    return build.narrow(call, y)


def layer_normalization(build: Builder, call: Call) -> Any:
    """(x - mean) / sqrt(variance + epsilon) over the channels of each position, as one layer per rounded result."""
    import tensorflow as tf
    from tf_keras import layers

    old = call.layer
    if call.x.shape.rank > 4 or list(old.axis) != [call.x.shape.rank - 1]:
        return build.copy(call)

    def add(kind: Any, *args: Any, suffix: str, **kwargs: Any) -> Any:
        return build.put(call, lambda name: kind(name=name), *args, suffix=suffix, **kwargs)

    x = build.wide(call)
    mean = add(raw.op(tf.reduce_mean), x, suffix="_mean", axis=-1, keepdims=True)
    centred = add(layers.Subtract, [x, mean], suffix="_centred")
    square = add(layers.Multiply, [centred, centred], suffix="_square")
    variance = add(raw.op(tf.reduce_mean), square, suffix="_variance", axis=-1, keepdims=True)
    inverse = add(rsqrt(), build.shifted(call, variance, old.epsilon, "_epsilon"), suffix="_inverse")
    y = add(layers.Multiply, [centred, inverse], suffix="_normal")
    gamma = old.gamma.numpy() if old.scale else np.ones(x.shape[-1])
    return build.narrow(call, _trained(build, call, y, gamma, old.beta.numpy() if old.center else None))


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
