"""Find the channels of a Keras network that can only be removed together, and remove them.

Every channel of a tensor, a position on its last axis, gets a number. A convolution or dense layer makes new numbers, a
pooling layer passes its inputs' numbers on, and a sum merges the numbers at equal positions. A channel can be removed
from the network if all tensors with its number lose it. Layers that are not in the tables below keep all channels.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.keras.layer_choice import FROZEN

if TYPE_CHECKING:
    import tf_keras

Ids = NDArray[np.int64]
Kept = NDArray[np.bool_]  # (channels,) whether to keep each channel, indexed by channel number

_CONVS = ("Conv1D", "Conv2D", "Conv3D")
_TRANSPOSED = ("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose")
_SEPARABLE = ("SeparableConv1D", "SeparableConv2D")
_DEPTHWISE = ("DepthwiseConv1D", "DepthwiseConv2D")
MIXING = ("Dense", *_CONVS, *_TRANSPOSED, *_SEPARABLE)  # each output channel depends on all input channels
COUNTED = (*MIXING, *_DEPTHWISE)  # layers with multiply-accumulates
_PASSING = (
    "Activation", "ActivityRegularization", "AlphaDropout", "BatchNormalization", "Dropout", "ELU", "GaussianDropout",
    "GaussianNoise", "LeakyReLU", "PReLU", "ReLU", "RepeatVector", "Rescaling", "Softmax", "ThresholdedReLU",
    *(f"{kind}{n}D" for n in (1, 2, 3) for kind in ("AveragePooling", "MaxPooling", "GlobalAveragePooling",
      "GlobalMaxPooling", "ZeroPadding", "Cropping", "UpSampling", "SpatialDropout")),
)  # fmt: skip
_JOINING = ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")


@dataclass(frozen=True, eq=False)
class Group:
    """Channels that the same layers make, so that all these layers lose the same channels.

    channels  channel numbers, in the order of the first layer
    layers    names of the layers that make them, in running order
    why       why none can be removed; "" if some can
    """

    channels: Ids
    layers: tuple[str, ...]
    why: str

    @property
    def name(self) -> str:
        """The names of the layers, as text."""
        return " + ".join(self.layers)


@dataclass(frozen=True, eq=False)
class Wiring:
    """The channels that each layer of a model reads and makes.

    reads   layer name -> channel numbers of its input, for layers with one input
    gives   layer name -> channel numbers of its output
    frozen  channel number -> why the channel can't be removed
    count   number of channels
    """

    model: "tf_keras.Model"
    reads: Mapping[str, Ids]
    gives: Mapping[str, Ids]
    frozen: Mapping[int, str]
    count: int

    @cached_property
    def all(self) -> Kept:
        """The selection of all channels."""
        return np.ones(self.count, np.bool_)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """All channels that layers make, grouped by the layers that make them."""
        makers: dict[int, dict[str, None]] = {}
        for layer in self.model.layers:
            for channel in self.gives[layer.name] if _kind(layer) in MIXING else ():
                makers.setdefault(int(channel), {})[layer.name] = None
        found: dict[tuple[str, ...], list[int]] = {}
        for channel, layers in makers.items():
            found.setdefault(tuple(layers), []).append(channel)
        return tuple(Group(np.array(ids), layers, self._why(ids)) for layers, ids in found.items())

    def _why(self, ids: Sequence[int]) -> str:
        return next((self.frozen[channel] for channel in ids if channel in self.frozen), "")

    def slices(self, layer: "tf_keras.layers.Layer") -> Iterator[tuple[Any, dict[int, Ids]]]:
        """Variables of a layer that have channels, each with axis (counted from the end) -> its channel numbers."""
        reads, gives = self.reads.get(layer.name), self.gives.get(layer.name)
        if reads is None or gives is None:
            return
        kind = _kind(layer)
        if kind in _DEPTHWISE or kind in _SEPARABLE:
            yield layer.depthwise_kernel, {-2: reads}
        if kind in _SEPARABLE:
            yield layer.pointwise_kernel, {-2: np.repeat(reads, layer.depth_multiplier), -1: gives}
        elif kind in _TRANSPOSED:
            yield layer.kernel, {-1: reads, -2: gives}
        elif kind in MIXING:
            # Each kernel of a grouped convolution has only some of the inputs, so all its channels stay.
            grouped = getattr(layer, "groups", 1) > 1
            yield layer.kernel, {} if grouped else {-2: reads, -1: gives}
        if kind in ("BatchNormalization", "PReLU"):
            yield from ((variable, {-1: gives}) for variable in layer.weights)
        elif getattr(layer, "bias", None) is not None:
            yield layer.bias, {-1: gives}

    def macs(self, layer: "tf_keras.layers.Layer", kept: Kept) -> int:
        """Multiply-accumulates of a layer with the kept channels per example, counted as in `pipeline.tflite.macs`."""
        if _kind(layer) not in COUNTED:
            return 0
        shape = layer.input_shape if _kind(layer) in _TRANSPOSED else layer.output_shape
        kernels = ((v, axes) for v, axes in self.slices(layer) if v is not getattr(layer, "bias", None))
        positions: int = prod(shape[1:-1])
        return positions * sum(prod(_shape(variable, axes, kept)) for variable, axes in kernels)

    def parameters(self, layer: "tf_keras.layers.Layer", kept: Kept) -> int:
        """Number of values in all variables of a layer with the kept channels."""
        axes_of = {variable.ref(): axes for variable, axes in self.slices(layer)}
        return sum(prod(_shape(variable, axes_of.get(variable.ref(), {}), kept)) for variable in layer.weights)

    def total_macs(self, kept: Kept) -> int:
        """Multiply-accumulates of the network with the kept channels, per example."""
        return sum(self.macs(layer, kept) for layer in self.model.layers)


def wiring(model: "tf_keras.Model") -> Wiring:
    """Number the channels of a functional or sequential model, and follow them through its layers."""
    trace = _Trace()
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            trace.follow(node)
    for tensor in model.outputs:
        trace.frozen |= dict.fromkeys(trace.of[id(tensor)].tolist(), "makes the model's output")
    settled = trace.settled
    frozen = {int(settled[channel]): why for channel, why in reversed(trace.frozen.items())}
    reads = {name: settled[ids] for name, ids in trace.reads.items()}
    gives = {name: settled[ids] for name, ids in trace.gives.items()}
    for layer in model.layers:
        gives.setdefault(layer.name, np.zeros(0, np.int64))
    return Wiring(model, reads, gives, frozen, len(settled))


def without(model: "tf_keras.Model", wired: Wiring, kept: Kept) -> "tf_keras.Model":
    """A copy of the network with only the kept channels and their weights."""
    import tf_keras

    def resized(layer: "tf_keras.layers.Layer") -> "tf_keras.layers.Layer":
        config = layer.get_config()
        _resize(config, _kind(layer), wired, kept)
        return type(layer).from_config(config)

    smaller = tf_keras.models.clone_model(model, clone_function=resized)
    for layer in smaller.layers:
        old = model.get_layer(layer.name)
        axes_of = {variable.ref(): axes for variable, axes in wired.slices(old)}
        layer.set_weights([_taken(v.numpy(), axes_of.get(v.ref(), {}), kept) for v in old.weights])
    return smaller


def _resize(config: dict[str, Any], kind: str, wired: Wiring, kept: Kept) -> None:
    """Change the sizes in a layer's Keras config to the number of kept channels."""
    size = int(kept[wired.gives[config["name"]]].sum())
    if kind == "Dense":
        config["units"] = size
    elif kind in MIXING:
        config["filters"] = size
    elif kind == "Reshape":
        config["target_shape"] = (*config["target_shape"][:-1], size)


def _taken(values: NDArray[Any], axes: dict[int, Ids], kept: Kept) -> NDArray[Any]:
    for axis, ids in axes.items():
        values = np.compress(kept[ids], values, axis)
    return values


def _shape(variable: Any, axes: dict[int, Ids], kept: Kept) -> list[int]:
    shape = list(variable.shape)
    for axis, ids in axes.items():
        shape[axis] = int(kept[ids].sum())
    return shape


def _kind(layer: "tf_keras.layers.Layer") -> str:
    """Name of the class for Keras's own layers; "" for a subclass or a custom layer."""
    import tf_keras

    name = type(layer).__name__
    return name if getattr(tf_keras.layers, name, None) is type(layer) else ""


@dataclass
class _Trace:
    """Channel numbers of tensors while the network is traversed. Merged numbers form a disjoint-set forest."""

    parents: list[int] = field(default_factory=list)
    frozen: dict[int, str] = field(default_factory=dict)
    of: dict[int, Ids] = field(default_factory=dict)  # id of a tensor -> its channel numbers
    reads: dict[str, Ids] = field(default_factory=dict)
    gives: dict[str, Ids] = field(default_factory=dict)

    def follow(self, node: Any) -> None:
        """Follow the channels through one call of a layer."""
        import tensorflow as tf

        layer, outputs = node.layer, tf.nest.flatten(node.outputs)
        inputs = [self.of[id(tensor)] for tensor in node.keras_inputs if id(tensor) in self.of]
        known = len(outputs) == 1 and all(map(len, inputs)) and not _channels_first(layer)
        rule = _RULES.get(_kind(layer)) if known else None
        if node.is_input:
            gives = self._whole(outputs[0], "is the model's input")
        elif rule:
            gives = rule(self, layer, inputs, outputs[0])
        else:
            for ids in inputs:
                self.freeze(ids, f"reaches {layer.name}, and what a {type(layer).__name__} does to channels is unknown")
            for tensor in outputs:
                self.of[id(tensor)] = self._whole(tensor, f"comes out of {layer.name}")
            return
        if layer.weights and not layer.trainable:  # whose weights would be taken out with the channels
            self.freeze(gives, FROZEN)
            for ids in inputs:
                self.freeze(ids, f"reaches {layer.name}, which {FROZEN}")
        if layer.name in self.gives:  # the layer is called more than once
            self.join(self.gives[layer.name], gives)
        if len(inputs) == 1:
            if layer.name in self.reads:
                self.join(self.reads[layer.name], inputs[0])
            self.reads[layer.name] = inputs[0]
        self.gives[layer.name] = self.of[id(outputs[0])] = gives

    def fresh(self, count: int) -> Ids:
        start = len(self.parents)
        self.parents.extend(range(start, start + count))
        return np.arange(start, start + count)

    def freeze(self, ids: Ids, why: str) -> None:
        for channel in ids.tolist():
            self.frozen.setdefault(channel, why)

    def join(self, one: Ids, other: Ids) -> None:
        """Merge the channels at equal positions. If the widths differ, the narrow one is broadcast and is frozen."""
        if len(one) != len(other):
            self.freeze(one if len(one) < len(other) else other, "is broadcast over channels")
            return
        for a, b in zip(one.tolist(), other.tolist(), strict=True):
            low, high = sorted((self._root(a), self._root(b)))
            self.parents[high] = low

    @property
    def settled(self) -> Ids:
        """Channel number -> the number that it was merged into."""
        return np.array([self._root(channel) for channel in range(len(self.parents))], np.int64)

    def _root(self, channel: int) -> int:
        while self.parents[channel] != channel:
            self.parents[channel] = self.parents[self.parents[channel]]
            channel = self.parents[channel]
        return channel

    def _whole(self, tensor: Any, why: str) -> Ids:
        ids = self.fresh((tensor.shape[-1] or 0) if tensor.shape.rank else 0)
        self.freeze(ids, why)
        return ids


def _channels_first(layer: "tf_keras.layers.Layer") -> bool:
    return getattr(layer, "data_format", None) == "channels_first"


def _mixes(trace: _Trace, layer: Any, inputs: list[Ids], output: Any) -> Ids:
    gives = trace.gives[layer.name] if layer.name in trace.gives else trace.fresh(output.shape[-1])
    if getattr(layer, "groups", 1) > 1:
        trace.freeze(inputs[0], f"reaches {layer.name}, a convolution in groups")
        trace.freeze(gives, "is a convolution in groups")
    if not _is_elementwise(layer.activation):
        trace.freeze(gives, "ends in an activation that works across channels, or is unknown")
    return gives


def _is_elementwise(activation: Any) -> bool:
    import tensorflow as tf
    import tf_keras

    name = getattr(activation, "__name__", "")
    of_keras = getattr(tf_keras.activations, name, None) is activation and name != "softmax"
    return activation is None or of_keras or activation in (tf.nn.relu, tf.nn.relu6)


def _passes(trace: _Trace, layer: Any, inputs: list[Ids], output: Any) -> Ids:
    (ids,) = inputs
    other_axis = _kind(layer) == "BatchNormalization" and list(layer.axis) != [output.shape.rank - 1]
    if other_axis or _kind(layer) == "Softmax" or not _is_elementwise(getattr(layer, "activation", None)):
        trace.freeze(ids, f"reaches {layer.name}, which works across channels, or is unknown")
    if _kind(layer) == "Rescaling" and max(np.size(layer.scale), np.size(layer.offset)) > 1:
        trace.freeze(ids, f"reaches {layer.name}, which has a factor for each channel")
    return ids


def _repeats(trace: _Trace, layer: Any, inputs: list[Ids], output: Any) -> Ids:
    """Depthwise convolution: output channel c * depth_multiplier + m comes from input channel c."""
    return np.repeat(inputs[0], layer.depth_multiplier)


def _joins(trace: _Trace, layer: Any, inputs: list[Ids], output: Any) -> Ids:
    widest = max(inputs, key=len)
    for ids in inputs:
        if ids is not widest:
            trace.join(widest, ids)
    return widest


def _concatenates(trace: _Trace, layer: Any, inputs: list[Ids], output: Any) -> Ids:
    if layer.axis in (-1, output.shape.rank - 1):
        return np.concatenate(inputs)
    return _joins(trace, layer, inputs, output)


def _flattens(trace: _Trace, layer: Any, inputs: list[Ids], output: Any) -> Ids:
    """Channels are the fastest axis: those of position p begin at p * channels."""
    return np.tile(inputs[0], output.shape[-1] // len(inputs[0]))


def _reshapes(trace: _Trace, layer: Any, inputs: list[Ids], output: Any) -> Ids:
    if output.shape[-1] == len(inputs[0]):
        return inputs[0]
    trace.freeze(inputs[0], f"reaches {layer.name}, which moves its channels to other axes")
    return trace._whole(output, f"comes out of {layer.name}")


_RULES: dict[str, Callable[[_Trace, Any, list[Ids], Any], Ids]] = {
    **dict.fromkeys(MIXING, _mixes),
    **dict.fromkeys(_DEPTHWISE, _repeats),
    **dict.fromkeys(_PASSING, _passes),
    **dict.fromkeys(_JOINING, _joins),
    "Concatenate": _concatenates,
    "Flatten": _flattens,
    "Reshape": _reshapes,
}
