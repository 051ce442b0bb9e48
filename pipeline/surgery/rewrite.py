"""The same network in layers that can be trained quantization-aware: equal outputs, from layers that have int8 kernels.

Each method of `Rewrite` is named after the layers that it replaces, and says by what.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.surgery import raw
from pipeline.surgery.graph import Call, Rebuild

if TYPE_CHECKING:
    import tf_keras

FUSED = ("linear", "relu", "relu6")  # activations that a TFLite kernel applies to its own result


class Rewrite(Rebuild):
    """The network in layers that have int8 kernels.

    What works along one axis is computed in two, with a height of 1, as TFLite does. A tensor that came out of such a
    layer is kept in both shapes: layer after layer goes on with the one of rank 4, and reshapes that no one reads are
    not part of the new model.
    """

    def __init__(self) -> None:
        super().__init__()
        self._flat: dict[int, Any] = {}  # id of a tensor of rank 2 or 3 -> itself, kept alive, and the one of rank 4

    def visit(self, call: Call) -> Any:
        kind = type(call.layer).__name__
        if kind in raw.OPS:
            return raw.layers(self, call)
        method: Callable[[Call], Any] | None = getattr(self, f"_{_snake(kind)}", None)
        if method is not None and _of_keras(call.layer):
            return method(call)
        return self.copy(call)

    # Kernels

    def _conv2d(self, call: Call) -> Any:
        return self._activated(call, lambda linear: self.copy(call) if not linear else self._linear(call))

    _depthwise_conv2d = _conv2d_transpose = _conv2d

    def _dense(self, call: Call) -> Any:
        """A 1x1 convolution where a normalisation follows, or the input has positions: it has a scale per channel."""
        from tf_keras import layers

        rank = call.x.shape.rank
        normalised = isinstance(call.reader, layers.BatchNormalization)
        if rank > 4 or (rank == 2 and not normalised) or (rank == 3 and None in call.x.shape[1:]):
            return self._conv2d(call)
        names = ("use_bias", "kernel_regularizer", "bias_regularizer", "kernel_constraint", "bias_constraint")
        return self._convolved(call, layers.Conv2D, names, filters=call.layer.units, kernel_size=1, data_format=None)

    def _conv1d(self, call: Call) -> Any:
        from tf_keras import layers

        if None in call.x.shape[2:] or call.layer.data_format != "channels_last":
            return self.copy(call)
        names = (
            "filters", "use_bias", "groups", "kernel_regularizer", "bias_regularizer", "kernel_constraint",
            "bias_constraint",
        )  # fmt: skip
        return self._convolved(call, layers.Conv2D, names, **self._along(call))

    def _depthwise_conv1d(self, call: Call) -> Any:
        from tf_keras import layers

        names = ("depth_multiplier", "use_bias", "depthwise_regularizer", "bias_regularizer")
        return self._convolved(call, layers.DepthwiseConv2D, names, **self._along(call))

    def _separable_conv2d(self, call: Call) -> Any:
        """A depthwise convolution and a 1x1 convolution, between which the values are rounded."""
        from tf_keras import layers

        old = call.layer
        depthwise, *rest = old.get_weights()
        settings = {"kernel_size": old.kernel_size, "strides": old.strides, "padding": old.padding}
        return self._separable(call, call.x, settings | {"dilation_rate": old.dilation_rate}, depthwise, rest, layers)

    def _separable_conv1d(self, call: Call) -> Any:
        from tf_keras import layers

        depthwise, *rest = call.layer.get_weights()
        wide = self._causal(call, self._wide(call))
        settings = self._along(call) | {"strides": (max(call.layer.strides),) * 2}
        y = self._separable(call, wide, settings, depthwise[np.newaxis], [rest[0][np.newaxis], *rest[1:]], layers)
        return self._narrow(call, y)

    def _separable(
        self, call: Call, x: Any, settings: dict[str, Any], depthwise: Any, rest: Sequence[Any], layers: Any
    ) -> Any:
        old = call.layer
        wide = self.put(
            call,
            lambda name: layers.DepthwiseConv2D(
                **settings, depth_multiplier=old.depth_multiplier, use_bias=False, name=name, trainable=old.trainable
            ),
            x,
            suffix="_depthwise",
            weights=[depthwise],
        )

        def pointwise(linear: bool) -> Any:
            return self.put(
                call,
                lambda name: layers.Conv2D(
                    old.filters, 1, use_bias=old.use_bias, name=name, trainable=old.trainable,
                    activation=None if linear else old.activation, kernel_regularizer=old.pointwise_regularizer,
                ),
                wide,
                suffix="_linear" if linear else "",
                weights=rest,
            )  # fmt: skip

        return self._activated(call, pointwise)

    # Normalisation and constant factors: one multiplication and one addition for each channel

    def _batch_normalization(self, call: Call) -> Any:
        """Of vectors and sequences: as of images, where it is folded into a convolution."""
        rank, (axis, *more) = call.x.shape.rank, call.layer.axis
        if rank not in (2, 3) or more or axis != rank - 1 or None in call.x.shape[2:] or call.layer.renorm:
            return self.copy(call)
        moved = _on(call, self._wide(call))
        config = call.layer.get_config() | {"axis": [3]}
        y = self.put(
            call, lambda name: type(call.layer).from_config(config | {"name": name}), *moved.args,
            weights=call.layer.get_weights(), **call.kwargs,
        )  # fmt: skip
        return self._narrow(call, y)

    def _rescaling(self, call: Call) -> Any:
        """Two layers when it multiplies and adds, for a value that is rounded must have a range of its own."""
        scale, offset = np.asarray(call.layer.scale, float), np.asarray(call.layer.offset, float)
        if np.all(scale == 1) or np.all(offset == 0):
            return self.copy(call)
        if call.x.shape.rank == 4:
            return self.affine(call, call.x, scale, offset)
        return self.shifted(call, self.scaled(call, call.x, scale.tolist(), "_scale"), offset.tolist())

    def _normalization(self, call: Call) -> Any:
        """(x - mean) / sqrt(variance) for each channel."""
        layer = call.layer
        if call.x.shape.rank != 4 or layer.axis not in ((3,), (-1,)) or layer.invert:
            return self.copy(call)
        mean, deviation = (np.asarray(value, float).reshape(-1) for value in (layer.mean, layer.variance))
        deviation = np.maximum(np.sqrt(deviation), 1e-7)  # Keras's epsilon
        return self.affine(call, call.x, 1 / deviation, -mean / deviation)

    def _layer_scale(self, call: Call) -> Any:
        """ConvNeXt's trained factor for each channel, as a depthwise 1x1 convolution."""
        from tf_keras import layers

        if call.x.shape.rank != 4:
            return self.copy(call)
        kernel = call.layer.get_weights()[0].reshape(1, 1, -1, 1)
        return self.put(
            call, lambda name: layers.DepthwiseConv2D(1, use_bias=False, name=name), call.x, weights=[kernel]
        )

    def _layer_normalization(self, call: Call) -> Any:
        """(x - mean) / sqrt(variance + epsilon) over the channels of each position, op by op, each rounded."""
        import tensorflow as tf
        from tf_keras import layers

        old, x = call.layer, self._wide(call)
        if list(old.axis) != [call.x.shape.rank - 1]:
            return self.copy(call)

        def add(make: Any, *args: Any, suffix: str, **kwargs: Any) -> Any:
            return self.put(call, lambda name: make(name=name), *args, suffix=suffix, **kwargs)

        mean = add(raw.op(tf.reduce_mean), x, suffix="_mean", axis=-1, keepdims=True)
        centred = add(layers.Subtract, [x, mean], suffix="_centred")
        square = add(layers.Multiply, [centred, centred], suffix="_square")
        variance = add(raw.op(tf.reduce_mean), square, suffix="_variance", axis=-1, keepdims=True)
        inverse = add(raw.op(tf.math.rsqrt), self.shifted(call, variance, old.epsilon, "_epsilon"), suffix="_inverse")
        y = add(layers.Multiply, [centred, inverse], suffix="_normal")
        kernel = old.gamma.numpy() if old.scale else np.ones(x.shape[-1])
        weights = [kernel.reshape(1, 1, -1, 1), *([old.beta.numpy()] if old.center else [])]
        y = self.put(call, lambda name: layers.DepthwiseConv2D(1, use_bias=old.center, name=name), y, weights=weights)
        return self._narrow(call, y)

    def affine(self, call: Call, x: Any, scale: Any, offset: Any) -> Any:
        """scale * x + offset for each channel of x (n, h, w, c), not trained: a depthwise 1x1 convolution is exact."""
        from tf_keras import layers

        channels = x.shape[-1]
        kernel = np.broadcast_to(scale, (channels,)).reshape(1, 1, channels, 1)
        bias = np.broadcast_to(offset, (channels,))
        return self.put(
            call, lambda name: layers.DepthwiseConv2D(1, name=name, trainable=False), x, weights=[kernel, bias]
        )

    def scaled(self, call: Call, x: Any, factor: Any, suffix: str = "") -> Any:
        from tf_keras import layers

        return self.put(call, lambda name: layers.Rescaling(factor, name=name), x, suffix=suffix)

    def shifted(self, call: Call, x: Any, offset: Any, suffix: str = "") -> Any:
        from tf_keras import layers

        return self.put(call, lambda name: layers.Rescaling(1.0, offset, name=name), x, suffix=suffix)

    # Activations

    def _activation(self, call: Call) -> Any:
        if getattr(call.layer.activation, "__name__", "") == "hard_sigmoid":
            return self.hard_sigmoid(call, call.x)
        return self._pointwise(call)

    def _re_lu(self, call: Call) -> Any:
        """A ceiling other than 6 becomes 6 between two factors: there are kernels for that one alone."""
        old = call.layer
        top = None if old.max_value is None else float(old.max_value)
        plain = not float(old.negative_slope) and not float(old.threshold)
        if not plain or top in (None, 6.0) or top == 0:
            return self._pointwise(call)
        return self.scaled(call, self.relu6(call, self.scaled(call, call.x, 6 / top, "_scale")), top / 6)

    def _pointwise(self, call: Call) -> Any:
        """A layer that treats every value alike wherever it stands."""
        if id(call.x) in self._flat and getattr(call.layer, "noise_shape", None) is None:
            return self._narrow(call, self.copy(_on(call, self._wide(call))))
        return self.copy(call)

    _leaky_re_lu = _dropout = _pointwise

    def relu6(self, call: Call, x: Any, suffix: str = "_relu6") -> Any:
        from tf_keras import layers

        return self.put(call, lambda name: layers.ReLU(6.0, name=name), x, suffix=suffix)

    def hard_sigmoid(self, call: Call, x: Any) -> Any:
        """clip(0.2 x + 0.5, 0, 1), which is relu6(1.2 x + 3) / 6."""
        y = self.shifted(call, self.scaled(call, x, 1.2, "_scale"), 3.0, "_shift")
        return self.scaled(call, self.relu6(call, y), 1 / 6)

    def _activated(self, call: Call, kernel: Callable[[bool], Any]) -> Any:
        """A kernel layer, with an activation that its TFLite op can't apply in a layer of its own.

        kernel gives the layer's result, with `True` the one before the activation.
        """
        from tf_keras import layers

        function = call.layer.activation
        name = getattr(function, "__name__", type(function).__name__)
        if name in FUSED:
            return kernel(False)
        linear = kernel(True)
        if name == "hard_sigmoid":
            return self.hard_sigmoid(call, linear)
        return self.put(call, lambda name: layers.Activation(function, name=name), linear)

    def _linear(self, call: Call) -> Any:
        old = call.layer
        config = old.get_config() | {"activation": "linear"}
        return self.put(
            call, lambda name: type(old).from_config(config | {"name": name}), *call.args, suffix="_linear",
            weights=old.get_weights(), **call.kwargs,
        )  # fmt: skip

    # Merges, pooling

    def _average(self, call: Call) -> Any:
        from tf_keras import layers

        return self.scaled(call, self._paired(call, layers.Add, "_sum"), 1 / len(call.x))

    def _add(self, call: Call) -> Any:
        """Two inputs at a time, as TFLite computes it, for each sum that is rounded must have a range of its own."""
        return self._paired(call, type(call.layer))

    _multiply = _maximum = _minimum = _add

    def _paired(self, call: Call, kind: Any, suffix: str = "") -> Any:
        total, *more = call.x
        for i, x in enumerate(more, start=1):
            end = suffix if x is more[-1] and i == len(more) else f"{suffix}_{i}"
            total = self.put(call, lambda name: kind(name=name), [total, x], suffix=end)
        return total

    def _max_pooling1d(self, call: Call) -> Any:
        from tf_keras import layers

        old, kind = call.layer, {"MaxPooling1D": layers.MaxPooling2D, "AveragePooling1D": layers.AveragePooling2D}
        size, stride = ((1, int(np.max(value))) for value in (old.pool_size, old.strides))
        make = kind[type(old).__name__]
        return self._flattened(call, lambda name: make(size, stride, old.padding, name=name))

    _average_pooling1d = _max_pooling1d

    def _up_sampling1d(self, call: Call) -> Any:
        from tf_keras import layers

        return self._flattened(call, lambda name: layers.UpSampling2D((1, call.layer.size), name=name))

    def _zero_padding1d(self, call: Call) -> Any:
        from tf_keras import layers

        return self._flattened(call, lambda name: layers.ZeroPadding2D(((0, 0), call.layer.padding), name=name))

    def _cropping1d(self, call: Call) -> Any:
        from tf_keras import layers

        return self._flattened(call, lambda name: layers.Cropping2D(((0, 0), call.layer.cropping), name=name))

    # One axis as two

    def _flattened(self, call: Call, make: "Callable[[str], tf_keras.layers.Layer]") -> Any:
        if getattr(call.layer, "data_format", "channels_last") != "channels_last" or call.x.shape[2] is None:
            return self.copy(call)
        return self._narrow(call, self.put(call, make, self._wide(call)))

    def _convolved(self, call: Call, kind: Any, names: Sequence[str], **settings: Any) -> Any:
        """A layer of rank 2 or 3 (or a dense one of 4) as a convolution over (n, 1, length, channels)."""
        old = call.layer
        kept = {name: getattr(old, name) for name in names} | {k: v for k, v in settings.items() if v is not None}
        kernel, *bias = old.get_weights()
        weights = [kernel.reshape((1,) * (4 - kernel.ndim) + kernel.shape), *bias]
        wide = self._causal(call, self._wide(call))

        def put(linear: bool) -> Any:
            activation = None if linear else old.activation
            return self.put(
                call,
                lambda name: kind(**kept, activation=activation, name=name, trainable=old.trainable),
                wide,
                suffix="_linear" if linear else "",
                weights=weights,
            )

        return self._narrow(call, self._activated(call, put))

    def _along(self, call: Call) -> dict[str, Any]:
        """Settings of a 1D convolution for two axes."""
        old = call.layer
        size, stride, dilation = (int(np.max(v)) for v in (old.kernel_size, old.strides, old.dilation_rate))
        return {
            "kernel_size": (1, size),
            # a depthwise convolution takes one stride for both axes, and along a height of 1 any does
            "strides": (stride, stride),
            "dilation_rate": (1, dilation),
            "padding": "valid" if old.padding == "causal" else old.padding,
        }

    def _causal(self, call: Call, wide: Any) -> Any:
        from tf_keras import layers

        old = call.layer
        if getattr(old, "padding", None) != "causal":
            return wide
        before = int(np.max(old.dilation_rate)) * (int(np.max(old.kernel_size)) - 1)
        return self.put(
            call, lambda name: layers.ZeroPadding2D(((0, 0), (before, 0)), name=name), wide, suffix="_causal"
        )

    def _wide(self, call: Call) -> Any:
        """The input as (n, height, width, channels)."""
        from tf_keras import layers

        x = call.x
        if x.shape.rank == 4:
            return x
        if id(x) in self._flat:
            return self._flat[id(x)][1]
        shape = (1, -1, x.shape[2]) if x.shape.rank == 3 else (1, 1, x.shape[1])
        wide = self.put(call, lambda name: layers.Reshape(shape, name=name), x, suffix="_wide")
        self._flat[id(x)] = (x, wide)
        return wide

    def _narrow(self, call: Call, wide: Any) -> Any:
        """A result of rank 4 in the shape that the old layer gave, which the layers after it may not need."""
        from tf_keras import layers

        rank = call.x.shape.rank
        if rank == 4:
            return wide
        shape = (-1, wide.shape[3]) if rank == 3 else (wide.shape[3],)
        narrow = self.put(call, lambda name: layers.Reshape(shape, name=name), wide, suffix="_narrow")
        self._flat[id(narrow)] = (narrow, wide)
        return narrow


class Foldable(Rebuild):
    """Each BatchNormalization of images behind a kernel that it can be folded into.

    One that stands alone gets a depthwise 1x1 convolution of ones before it, into which it folds without an error: the
    file then holds one multiplication and addition for each channel, with a scale for each.
    """

    def visit(self, call: Call) -> Any:
        from tf_keras import layers

        old = call.layer
        if type(old) is not layers.BatchNormalization or call.x.shape.rank != 4 or list(old.axis) != [3]:
            return self.copy(call)
        if _takes_norm(call.x._keras_history.layer) and call.alone:
            return self.copy(call)
        x = self.put(
            call,
            lambda name: layers.DepthwiseConv2D(
                1, use_bias=False, depthwise_initializer="ones", trainable=False, name=name
            ),
            call.x,
            suffix="_ones",
        )
        return self.copy(_on(call, x))


def _takes_norm(layer: "tf_keras.layers.Layer") -> bool:
    from tf_keras import activations, layers

    return type(layer) in (layers.Conv2D, layers.DepthwiseConv2D) and layer.activation is activations.linear


def _on(call: Call, x: Any) -> Call:
    """The same call on another input."""
    return replace(call, args=(x, *call.args[1:]))


def _of_keras(layer: "tf_keras.layers.Layer") -> bool:
    return type(layer).__module__.startswith("tf_keras.")


def _snake(kind: str) -> str:
    """Keras's own way from a class to a layer's name: SeparableConv1D to separable_conv1d."""
    from tf_keras.src.utils.generic_utils import to_snake_case

    name: str = to_snake_case(kind)
    return name


@dataclass(frozen=True)
class Network:
    """A network in layers that have int8 kernels.

    origin  name of the layer of the old model that each of the layers, by name, stands for
    """

    model: "tf_keras.Model"
    origin: Mapping[str, str]


def quantizable(model: "tf_keras.Model") -> Network:
    """The same network, with equal outputs, in layers that can be trained quantization-aware."""
    rewrite, fold = Rewrite(), Foldable()
    folded = fold.model(rewrite.model(model))
    return Network(folded, {name: rewrite.origin[old] for name, old in fold.origin.items()})
