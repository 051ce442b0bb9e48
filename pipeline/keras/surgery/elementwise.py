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
    """Add, Multiply, Maximum and Minimum, two inputs at a time."""
    return build.paired(call, type(call.layer))


def max_pooling1d(build: Builder, call: Call) -> Any:
    from tf_keras import layers

    return _along(build, call, lambda name: layers.MaxPooling2D(*_windows(call), name=name))


def average_pooling1d(build: Builder, call: Call) -> Any:
    from tf_keras import layers

    return _along(build, call, lambda name: layers.AveragePooling2D(*_windows(call), name=name))


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
