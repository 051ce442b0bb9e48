"""Compute the exact statistics of batch normalisation, layer by layer."""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.progress import Progress
from pipeline.data.source import Examples

if TYPE_CHECKING:
    import tf_keras

BATCH = 256  # examples in memory at once; it affects only the last bits of the result


def reasons(model: "tf_keras.Model") -> dict[str, str]:
    """Name of each batch normalisation, in running order -> why it is left unchanged; "" if it is estimated."""
    import tf_keras

    kind = tf_keras.layers.BatchNormalization
    found = {layer.name: (layer, _norm_of(layer)) for layer in model.layers if isinstance(_norm_of(layer), kind)}
    reasons = {
        name: "" if len(layer.inbound_nodes) == 1 else "is used more than once" for name, (layer, _) in found.items()
    }
    norms = [norm for _, norm in found.values()]
    for layer in model._flatten_layers():
        if isinstance(layer, kind) and layer not in norms:
            reasons[layer.name] = "stands inside another layer or a nested model"
    return reasons


def _norm_of(layer: "tf_keras.layers.Layer") -> "tf_keras.layers.Layer":
    """The layer itself, or the layer inside tfmot's quantization wrapper."""
    return layer.layer if type(layer).__name__ == "QuantizeWrapperV2" else layer


def estimate(
    model: "tf_keras.Model",
    reasons: Mapping[str, str],
    train: Examples,
    drawn: NDArray[np.int64],
    report: Callable[[Progress], None],
) -> Iterator[dict[str, Any]]:
    """Set the statistics of each layer that has no reason against it, and yield a report row for every layer.

    reasons  as from the function `reasons`
    drawn    positions (n,) of the training examples to use
    """
    import tf_keras

    for done, (name, why) in enumerate(reasons.items(), start=1):
        row: dict[str, Any] = {"layer": name, "kind": "BatchNormalization", "done": not why, "why": why}
        if not why:
            layer = _norm_of(model.get_layer(name))
            above = tf_keras.Model(model.inputs, model.get_layer(name).input)
            row["layer"] = layer.name
            batches = (train.batch(drawn[i : i + BATCH])[0] for i in range(0, len(drawn), BATCH))
            values = (np.asarray(above(x, training=False)) for x in batches)
            mean, variance = moments(values, axis=layer.axis[0])
            row["mean_moved"] = _moved(layer, mean)
            layer.moving_mean.assign(mean)
            layer.moving_variance.assign(variance)
        report(Progress("layer", done, len(reasons)))
        yield row


def moments(batches: Iterator[NDArray[np.floating]], axis: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and variance (channels,), without Bessel's correction, over all axes except `axis`, that of the channels.

    Batches are merged by equations 2.1 of Chan, Golub and LeVeque, Updating Formulae and a Pairwise Algorithm for
    Computing Sample Variances, 1979.
    """
    count, mean, squares = 0, np.zeros(()), np.zeros(())
    for batch in batches:
        values = np.moveaxis(batch.astype(np.float64), axis, -1).reshape(-1, batch.shape[axis])
        n, own = len(values), values.mean(axis=0)
        apart = own - mean
        squares = squares + ((values - own) ** 2).sum(axis=0) + apart**2 * (count * n / (count + n))
        mean = mean + apart * (n / (count + n))
        count += n
    return mean, squares / count


def _moved(layer: "tf_keras.layers.Layer", mean: NDArray[np.float64]) -> float:
    """The largest change of a channel's mean, in standard deviations of the old statistics."""
    deviation = np.sqrt(layer.moving_variance.numpy() + layer.epsilon)
    return float(np.max(np.abs(mean - layer.moving_mean.numpy()) / deviation))
