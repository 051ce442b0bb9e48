"""Compute the exact statistics of batch normalisation, from layer to layer."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.progress import Progress
from pipeline.data.source import Examples
from pipeline.keras.layer_choice import FROZEN

if TYPE_CHECKING:
    import tf_keras

BATCH = 256  # examples that run at once; it affects only the last bits of the result
MEMORY = 1 << 29  # bytes of results that are kept for the rest of the network

_Values = dict[str, Any]  # tensor of the model, by Keras's id -> its values (n, ...)


def reasons(model: "tf_keras.Model") -> dict[str, str]:
    """Name of each batch normalisation, in running order -> why it is left unchanged; "" if it is estimated."""
    import tf_keras

    kind = tf_keras.layers.BatchNormalization
    found = {layer.name: (layer, _norm_of(layer)) for layer in model.layers if isinstance(_norm_of(layer), kind)}
    reasons = {name: _why(layer, norm) for name, (layer, norm) in found.items()}
    norms = [norm for _, norm in found.values()]
    for layer in model._flatten_layers():
        if isinstance(layer, kind) and layer not in norms:
            reasons[layer.name] = "stands inside another layer or a nested model"
    return reasons


def _why(layer: "tf_keras.layers.Layer", norm: "tf_keras.layers.Layer") -> str:
    if not (layer.trainable and norm.trainable):
        return FROZEN
    return "" if len(layer.inbound_nodes) == 1 else "is used more than once"


def _norm_of(layer: "tf_keras.layers.Layer") -> "tf_keras.layers.Layer":
    """The layer itself, or the layer inside tfmot's quantization wrapper."""
    return layer.layer if type(layer).__name__ == "QuantizeWrapperV2" else layer


def estimate(
    model: "tf_keras.Model",
    reasons: Mapping[str, str],
    train: Examples,
    drawn: NDArray[np.int64],
    report: Callable[[Progress], None],
) -> list[dict[str, Any]]:
    """Set the statistics of each layer that has no reason against it. Returns a report row for every layer.

    The network runs once, from one normalisation to the next: those that none before them are still to be estimated
    are estimated together, and what the rest of the network reads is kept for it, where that fits into `MEMORY`.

    reasons  as from the function `reasons`
    drawn    positions (n,) of the training examples to use
    """
    chosen = [name for name, why in reasons.items() if not why]
    graph = _Graph(model, chosen)
    moved: dict[str, float] = {}
    starts = range(0, len(drawn), BATCH)
    stored: list[_Values] | None = None  # of the tensors that a pass begins at, for each batch; None: the examples
    behind: set[int] = set()  # positions of the nodes whose results they are
    for level in range(1, graph.top + 1):
        found = {name: Moments(_norm_of(model.get_layer(name)).axis[0]) for name in graph.names(level)}
        nodes, kept = graph.below(level, behind), graph.read_from(level)
        fresh: list[_Values] = []
        for place, start in enumerate(starts):
            report(Progress("layer", len(moved), len(reasons), within=Progress("batch", place, len(starts))))
            given = stored[place] if stored else graph.fed(train.batch(drawn[start : start + BATCH])[0])
            values = graph.run(nodes, given)
            for name, moments in found.items():
                moments.add(values[graph.reads(name)].numpy())
            own = {key: values[key] for key in kept}
            if sum(value.numpy().nbytes for value in own.values()) * len(starts) <= MEMORY:
                fresh.append(own)
        if len(fresh) == len(starts):
            stored, behind = fresh, behind | set(nodes)
        for name, moments in found.items():
            layer = _norm_of(model.get_layer(name))
            moved[name] = _moved(layer, moments.mean)
            layer.moving_mean.assign(moments.mean)
            layer.moving_variance.assign(moments.variance)
    report(Progress("layer", len(reasons), len(reasons)))
    return [_row(model, name, why, moved) for name, why in reasons.items()]


def _row(model: "tf_keras.Model", name: str, why: str, moved: Mapping[str, float]) -> dict[str, Any]:
    row: dict[str, Any] = {"layer": name, "kind": "BatchNormalization", "done": not why, "why": why}
    return row if why else row | {"layer": _norm_of(model.get_layer(name)).name, "mean_moved": moved[name]}


class _Graph:
    """A functional model as its calls of layers (nodes), in running order.

    The level of a tensor is the number of chosen layers on the longest way to it, so that the chosen layers of a level
    depend on those of the levels before it alone. Tensors are named by the id that Keras gives them.
    """

    def __init__(self, model: "tf_keras.Model", chosen: Sequence[str]) -> None:
        depths = sorted(model._nodes_by_depth, reverse=True)
        self._nodes = [node for depth in depths for node in model._nodes_by_depth[depth] if not node.is_input]
        self._inputs = [str(id(tensor)) for tensor in model.inputs]
        self._levels = dict.fromkeys(self._inputs, 0)
        self._chosen: dict[str, Any] = {}
        for node in self._nodes:
            above = max((self._levels[key] for key in _reads(node)), default=0)
            if node.layer.name in chosen:
                self._chosen[node.layer.name] = node
            self._levels |= dict.fromkeys(_gives(node), above + (node.layer.name in chosen))
        self.top = max(self._levels.values())

    def _level(self, node: Any) -> int:
        return self._levels[_gives(node)[0]]

    def names(self, level: int) -> list[str]:
        """Names of the chosen layers of a level."""
        return [name for name, node in self._chosen.items() if self._level(node) == level]

    def reads(self, name: str) -> str:
        """The tensor that a chosen layer reads."""
        return _reads(self._chosen[name])[0]

    def below(self, level: int, done: set[int]) -> list[int]:
        """Positions of the nodes below a level, without those that are done."""
        return [i for i, node in enumerate(self._nodes) if self._level(node) < level and i not in done]

    def read_from(self, level: int) -> list[str]:
        """The tensors below a level that nodes from that level on read."""
        above = (node for node in self._nodes if self._level(node) >= level)
        return list(dict.fromkeys(key for node in above for key in _reads(node) if self._levels[key] < level))

    def fed(self, x: NDArray[np.float32]) -> "_Values":
        """The values of the model's input for examples x (n, ...)."""
        import tensorflow as tf

        return {self._inputs[0]: tf.constant(x)}

    def run(self, nodes: Sequence[int], given: "_Values") -> "_Values":
        """All values known after these nodes, at inference: tensors of TensorFlow, which carry Keras's masks."""
        values = dict(given)
        for i in nodes:
            node = self._nodes[i]
            keys = _reads(node)
            arguments, options = node.map_arguments({key: [values[key]] * keys.count(key) for key in keys})
            results = node.layer(*arguments, **options)
            values.update(zip(_gives(node), results if isinstance(results, (list, tuple)) else [results], strict=True))
        return values


def _reads(node: Any) -> list[str]:
    return [str(id(tensor)) for tensor in node.keras_inputs]


def _gives(node: Any) -> list[str]:
    outputs = node.outputs
    return [str(id(tensor)) for tensor in (outputs if isinstance(outputs, (list, tuple)) else [outputs])]


class Moments:
    """Mean and variance (channels,), without Bessel's correction, over all axes except `axis`, that of the channels.

    Batches are merged by equations 2.1 of Chan, Golub and LeVeque, Updating Formulae and a Pairwise Algorithm for
    Computing Sample Variances, 1979.
    """

    def __init__(self, axis: int) -> None:
        self.axis, self.count = axis, 0
        self.mean, self._squares = np.zeros(()), np.zeros(())

    def add(self, batch: NDArray[np.floating]) -> None:
        """Add values (n, ...)."""
        values = np.moveaxis(batch, self.axis, -1).reshape(-1, batch.shape[self.axis])
        n, own = len(values), values.mean(axis=0, dtype=np.float64)
        apart, total = own - self.mean, self.count + len(values)
        squares = np.square(values - own).sum(axis=0)
        self._squares = self._squares + squares + apart**2 * (self.count * n / total)
        self.mean = self.mean + apart * (n / total)
        self.count = total

    @property
    def variance(self) -> NDArray[np.float64]:
        return self._squares / self.count


def _moved(layer: "tf_keras.layers.Layer", mean: NDArray[np.float64]) -> float:
    """The largest change of a channel's mean, in standard deviations of the old statistics."""
    deviation = np.sqrt(layer.moving_variance.numpy() + layer.epsilon)
    return float(np.max(np.abs(mean - layer.moving_mean.numpy()) / deviation))
