"""Measure the range of each layer's output on examples."""

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import tf_keras


def measure(
    model: "tf_keras.Model", names: Collection[str], batches: Sequence[NDArray[np.float32]]
) -> dict[str, tuple[float, float]]:
    """Layer -> the mean over batches of its minimum and maximum, to which tfmot's moving average converges.

    The range covers the outputs at inference and in training, where normalisation uses batch statistics: otherwise the
    outputs of a network whose moving averages lag behind would be clipped, and its gradients explode. The model's
    moving averages are changed.

    batches: inputs (n, ...). A layer that is called several times has one range for all its outputs.
    """
    layers, ends = _ends(model, names)
    used, trained = (np.mean([ends(x, mode) for x in batches], axis=0) for mode in (False, True))
    low, high = np.minimum(used[0], trained[0]), np.maximum(used[1], trained[1])
    return {name: (float(low[i]), float(high[i])) for i, name in enumerate(layers)}


def observe(
    model: "tf_keras.Model", names: Collection[str], batches: Sequence[NDArray[np.float32]]
) -> dict[str, tuple[float, float]]:
    """Layer -> its minimum and maximum over all batches (n, ...), as in the converter's calibration.

    The network runs in inference mode and is not changed.
    """
    layers, ends = _ends(model, names)
    found = np.stack([ends(x, False) for x in batches])  # (batches, 2, layers)
    return {name: (float(found[:, 0, i].min()), float(found[:, 1, i].max())) for i, name in enumerate(layers)}


def _ends(
    model: "tf_keras.Model", names: Collection[str]
) -> tuple[list[str], Callable[[NDArray[np.float32], bool], NDArray[np.float32]]]:
    """Names of the layers, and a function that computes their minima and maxima (2, layers) for a batch."""
    import tensorflow as tf
    import tf_keras

    layers = [layer for layer in model.layers if layer.name in names]
    results = [[layer.get_output_at(i) for i in range(len(layer.inbound_nodes))] for layer in layers]
    watched = tf_keras.Model(model.inputs, tf.nest.flatten(results))

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def ends(x: "tf.Tensor", training: bool) -> Any:
        found = tf.nest.pack_sequence_as(results, tf.nest.flatten(watched(x, training=training)))
        low = [tf.reduce_min([tf.reduce_min(result) for result in each]) for each in found]
        high = [tf.reduce_max([tf.reduce_max(result) for result in each]) for each in found]
        return tf.stack([low, high])

    return [layer.name for layer in layers], lambda x, training: np.asarray(ends(tf.constant(x), training))
