"""Cross-layer equalisation: scale channels so that all use the full range of their kernel, with equal outputs.

Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, https://arxiv.org/abs/1906.04721,
section 4.1. If everything between two layers is positively homogeneous, f(s x) = s f(x) for s > 0, channel i of the
first layer can be divided by s_i while the second layer's weights for that channel are multiplied by s_i. With r1_i and
r2_i the channel's largest absolute weights in the two layers, s_i = sqrt(r1_i r2_i) / r2_i makes both ranges
sqrt(r1_i r2_i).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.keras.surgery.folding import INPUTS, OUTPUTS, SEPARABLE, Array, Axes, kind, scaled

if TYPE_CHECKING:
    import tf_keras

SETTLED = 1e-3  # the iteration ends when no scale changes by more than this, relative
ROUNDS = 1000  # largest number of rounds; a chain of 50 layers takes a few hundred
_HOMOGENEOUS = {
    "Flatten", "Reshape", "Dropout", "GaussianDropout", "GaussianNoise", "ActivityRegularization", "LeakyReLU", "PReLU",
    *(f"{name}{n}D" for n in (1, 2, 3) for name in ("MaxPooling", "AveragePooling", "GlobalMaxPooling",
      "GlobalAveragePooling", "ZeroPadding", "Cropping", "UpSampling", "SpatialDropout")),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two layers: its kernel, the kernel's axes with the channels, and the bias that is scaled with them."""

    kernel: Any
    axes: Axes
    bias: Any = None

    @property
    def ranges(self) -> Array:
        """The largest absolute weight of each channel (channels,)."""
        return _ranges(self.kernel.numpy(), self.axes)


@dataclass(frozen=True, eq=False)
class Pair:
    """Two layers whose channels are scaled together. After a Flatten the second side has each channel several times.

    first, second  names of the layers; equal for the two kernels of a separable convolution
    sides          kernel and bias of each
    between        the tensor that the second layer reads; None inside a separable convolution
    """

    first: str
    second: str
    sides: tuple[Side, Side]
    between: "tf_keras.KerasTensor | None" = None


def pairs(model: "tf_keras.Model") -> tuple[tuple[Pair, ...], dict[str, str]]:
    """The pairs of a model, and for each other layer with a kernel why it is not the first of a pair.

    The model must come from `Rebuild`.
    """
    found, reasons = [], {}
    for layer in model.layers:
        if kind(layer) not in OUTPUTS:
            continue
        if kind(layer) in SEPARABLE:
            inside = Side(layer.depthwise_kernel, (-2, -1)), Side(layer.pointwise_kernel, (-2,))
            found.append(Pair(layer.name, layer.name, inside))
        second, why = _second(model, layer)
        if why:
            reasons[layer.name] = why
        else:
            sides = _side(layer, OUTPUTS, getattr(layer, "bias", None)), _side(second, INPUTS)
            found.append(Pair(layer.name, second.name, sides, second.input))
    return tuple(found), reasons


def largest(model: "tf_keras.Model", found: Sequence[Pair], batches: Iterable[NDArray[np.float32]]) -> list[Array]:
    """For each pair, the largest absolute value per channel (channels,) between its layers; zeros for separable ones.

    batches: inputs of the model (n, ...).
    """
    import tensorflow as tf
    import tf_keras

    ends = [np.zeros(len(pair.sides[0].ranges)) for pair in found]
    places = [place for place, pair in enumerate(found) if pair.between is not None]
    if not places:
        return ends
    watched = tf_keras.Model(model.inputs, [found[place].between for place in places])
    for x in batches:
        for place, values in zip(places, tf.nest.flatten(watched(x, training=False)), strict=True):  # one is no list
            now = np.abs(np.asarray(values, np.float64)).reshape(-1, len(ends[place])).max(axis=0)
            ends[place] = np.maximum(ends[place], now)
    return ends


def equalize(found: Sequence[Pair], results: Sequence[Array]) -> int:
    """Scale the channels of all pairs until the scales no longer change. Returns the number of rounds.

    results: the activations' sizes, from `largest`. A channel whose weights in one of the layers are all zero is not
    scaled. No channel is scaled up so far that its activations become the largest of the layer: a channel with small
    weights and a large bias would take up the activation range of the others. (The paper absorbs such biases into the
    next layer, after which outputs are equal only for most inputs.)
    """
    variables = {id(v): v for pair in found for side in pair.sides for v in (side.kernel, side.bias) if v is not None}
    values = {key: variable.numpy().astype(np.float64) for key, variable in variables.items()}
    ends = [result.copy() for result in results]
    moved, rounds = np.inf, 0
    while moved > SETTLED and rounds < ROUNDS:
        moved = max((_balance(*each, values) for each in zip(found, ends, strict=True)), default=0.0)
        rounds += 1
    for key, variable in variables.items():
        variable.assign(values[key])
    return rounds


def _balance(pair: Pair, ends: Array, values: dict[int, Array]) -> float:
    """Give the channels of a pair equal ranges in both layers. Returns the largest relative change of a scale."""
    one, other = pair.sides
    mine = _ranges(values[id(one.kernel)], one.axes)
    repeats = _ranges(values[id(other.kernel)], other.axes).reshape(-1, len(mine))
    theirs = repeats.max(axis=0)
    used = (mine > 0) & (theirs > 0)
    factors = np.where(used, np.sqrt(mine / np.where(used, theirs, 1)), 1.0)
    if ends.max() > 0:
        factors = np.maximum(factors, np.minimum(ends / ends.max(), 1.0))
    ends /= factors
    if one.bias is not None:
        values[id(one.bias)] /= factors
    values[id(one.kernel)] = scaled(values[id(one.kernel)], one.axes, 1 / factors)
    values[id(other.kernel)] = scaled(values[id(other.kernel)], other.axes, np.tile(factors, len(repeats)))
    return float(np.abs(factors - 1).max())


def _ranges(kernel: Array, axes: Axes) -> Array:
    others = tuple(axis for axis in range(-kernel.ndim, 0) if axis not in axes)
    found: Array = np.abs(kernel).max(axis=others).reshape(-1)
    return found


def _side(layer: "tf_keras.layers.Layer", table: dict[str, tuple[str, Axes]], bias: Any = None) -> Side:
    name, axes = table[kind(layer)]
    return Side(getattr(layer, name), axes, bias)


def _second(model: "tf_keras.Model", first: "tf_keras.layers.Layer") -> tuple[Any, str]:
    """The next layer with a kernel, which compensates the scaling of the first; or why there is none."""
    outputs = {tensor._keras_history.layer.name for tensor in model.outputs}
    channels, layer = first.output_shape[-1], first
    while not (why := next(_obstacles(layer, layer is first, outputs, channels), "")):
        layer = layer.outbound_nodes[0].outbound_layer
        if kind(layer) in INPUTS and len(layer.inbound_nodes) == 1:
            grouped = getattr(layer, "groups", 1) > 1
            return layer, f"reaches {layer.name}, a convolution in groups" if grouped else ""
    return None, why


def _obstacles(layer: "tf_keras.layers.Layer", first: bool, outputs: set[str], channels: int) -> Iterator[str]:
    """Yield what prevents scaling the channels of a layer's output; `first`: the layer is the first of the pair."""
    who = "" if first else f"reaches {layer.name}, which "
    if len(layer.inbound_nodes) > 1:
        yield f"{who}is called several times"
    if not _homogeneous(layer, first):
        yield f"{who}passes no factor on: {_described(layer)}"
    if (layer.output_shape[-1] or 1) % channels:
        yield f"{who}moves channels to other axes"
    if layer.name in outputs:
        yield f"{who}makes the model's output"
    if len(layer.outbound_nodes) != 1:
        yield f"{who}is read by {' and '.join(node.outbound_layer.name for node in layer.outbound_nodes)}"


def _homogeneous(layer: "tf_keras.layers.Layer", first: bool) -> bool:
    """Whether a layer, or the activation of the first layer, is positively homogeneous."""
    if first or kind(layer) == "Activation":
        return getattr(layer.activation, "__name__", "") in ("linear", "relu", "leaky_relu")
    if kind(layer) == "ReLU":
        return layer.max_value is None and not float(layer.threshold)
    return kind(layer) in _HOMOGENEOUS


def _described(layer: "tf_keras.layers.Layer") -> str:
    if hasattr(layer, "activation"):
        return f"the activation {getattr(layer.activation, '__name__', 'of its own')}"
    return f"ReLU up to {layer.max_value:g}" if kind(layer) == "ReLU" and layer.max_value else type(layer).__name__
