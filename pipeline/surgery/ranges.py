"""The range of what each layer gives, from a pass over examples."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import tf_keras


def measure(
    model: "tf_keras.Model", names: Collection[str], batches: Sequence[NDArray[np.float32]]
) -> dict[str, tuple[float, float]]:
    """The mean over batches of each layer's least and greatest value, which tfmot's moving average tends to.

    It spans what the network gives in use and in training, where normalisation goes by the batch: a network whose
    moving averages lag behind would be cut off, and its gradients explode. The model's moving averages are changed.

    batches: (n, ...) inputs. A layer that is called several times has one range for all its results.
    """
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
        return tf.stack([low, high])  # (2, layers)

    used, trained = (
        np.mean([np.asarray(ends(tf.constant(x), mode)) for x in batches], axis=0) for mode in (False, True)
    )
    low, high = np.minimum(used[0], trained[0]), np.maximum(used[1], trained[1])
    return {layer.name: (float(low[i]), float(high[i])) for i, layer in enumerate(layers)}
