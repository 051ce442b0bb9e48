"""The range of what each layer gives, from a pass over examples."""

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import tf_keras


def measure(
    model: "tf_keras.Model", names: Collection[str], batches: Iterable[NDArray[np.float32]]
) -> dict[str, tuple[float, float]]:
    """The mean over batches of each layer's least and greatest value, which tfmot's moving average tends to.

    batches: (n, ...) inputs. A layer that is called several times has one range for all its results.
    """
    import tensorflow as tf
    import tf_keras

    layers = [layer for layer in model.layers if layer.name in names]
    results = [[layer.get_output_at(i) for i in range(len(layer.inbound_nodes))] for layer in layers]
    watched = tf_keras.Model(model.inputs, results)

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def ends(x: "tf.Tensor") -> Any:
        found = watched(x, training=False)
        found = found if isinstance(found, list) else [[found]]
        low = [tf.reduce_min([tf.reduce_min(result) for result in tf.nest.flatten(each)]) for each in found]
        high = [tf.reduce_max([tf.reduce_max(result) for result in tf.nest.flatten(each)]) for each in found]
        return tf.stack([low, high], axis=1)  # (layers, 2)

    total = np.mean([np.asarray(ends(tf.constant(x))) for x in batches], axis=0)
    return {layer.name: (float(low), float(high)) for layer, (low, high) in zip(layers, total, strict=True)}
