"""Rules that rewrite activations, merges, and pooling, upsampling, padding and cropping along one axis."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.keras.surgery.builder import Builder
from pipeline.keras.surgery.graph import Call

if TYPE_CHECKING:
    import tf_keras


def activation(build: Builder, call: Call) -> Any:
    if getattr(call.layer.activation, "__name__", "") == "hard_sigmoid":
        return build.hard_sigmoid(call, call.x)
    return build.pointwise(call)


def relu(build: Builder, call: Call) -> Any:
    """A ReLU with another limit than 6 becomes a ReLU6 between two factors, because TFLite has no other kernel."""
    old = call.layer
    top = None if old.max_value is None else float(old.max_value)
    if float(old.negative_slope) or float(old.threshold) or top in (None, 6.0, 0.0):
        return build.pointwise(call)
    return build.scaled(call, build.relu6(call, build.scaled(call, call.x, 6 / top, "_scale"), "_relu6"), top / 6)


def average(build: Builder, call: Call) -> Any:
    """The average as a sum times a factor."""
    from tf_keras import layers

    return build.scaled(call, build.paired(call, layers.Add, "_sum"), 1 / len(call.x))


def merge(build: Builder, call: Call) -> Any:
    """Add, Subtract, Multiply, Maximum and Minimum, two inputs at a time; in rank 4 if all inputs exist in it."""
    kind = type(call.layer)
    if all(build.is_wide(x) for x in call.x) and len({x.shape.rank for x in call.x}) == 1:
        wide = call.on([build.wide(call.on(x)) for x in call.x])
        return build.narrow(call.on(call.x[0]), build.paired(wide, kind))
    return build.paired(call, kind)


def max_pooling1d(build: Builder, call: Call) -> Any:
    from tf_keras import layers

    return _along(build, call, lambda name: layers.MaxPooling2D(*_windows(call), name=name))


def average_pooling1d(build: Builder, call: Call) -> Any:
    from tf_keras import layers

    return _along(build, call, lambda name: layers.AveragePooling2D(*_windows(call), name=name))


def pooling3d(build: Builder, call: Call) -> Any:
    """MaxPooling3D and AveragePooling3D: over the height and width of each frame, and then over the frames."""
    from tf_keras import layers

    old, x = call.layer, call.x
    if old.data_format != "channels_last" or not x.shape[1:].is_fully_defined():
        return build.copy(call)
    kind = {"MaxPooling3D": layers.MaxPooling2D, "AveragePooling3D": layers.AveragePooling2D}[type(old).__name__]
    (depth, *size), (step, *steps) = old.pool_size, old.strides
    y = build.put(call, lambda name: kind(size, steps, old.padding, name=name), build.wide(call), suffix="_pooled")
    height, width, channels = y.shape[1:]
    y = build.reshaped(call, y, [-1, x.shape[1], height * width, channels], "_pixels")
    y = build.put(call, lambda name: kind((depth, 1), (step, 1), old.padding, name=name), y, suffix="_deep")
    return build.put(call, lambda name: layers.Reshape((y.shape[1], height, width, channels), name=name), y)


def up_sampling1d(build: Builder, call: Call) -> Any:
    from tf_keras import layers

    return _along(build, call, lambda name: layers.UpSampling2D((1, call.layer.size), name=name))


def zero_padding1d(build: Builder, call: Call) -> Any:
    from tf_keras import layers

    return _along(build, call, lambda name: layers.ZeroPadding2D(((0, 0), call.layer.padding), name=name))


def cropping1d(build: Builder, call: Call) -> Any:
    from tf_keras import layers

    return _along(build, call, lambda name: layers.Cropping2D(((0, 0), call.layer.cropping), name=name))


def _along(build: Builder, call: Call, make: "Callable[[str], tf_keras.layers.Layer]") -> Any:
    """A layer that works along one axis, as the layer from `make`, which works along two."""
    if getattr(call.layer, "data_format", "channels_last") != "channels_last":
        return build.copy(call)
    return build.narrow(call, build.put(call, make, build.wide(call)))


def _windows(call: Call) -> tuple[tuple[int, int], tuple[int, int], str]:
    """Size, stride and padding of a pooling layer, for two axes."""
    old = call.layer
    return (1, int(np.max(old.pool_size))), (1, int(np.max(old.strides))), old.padding
