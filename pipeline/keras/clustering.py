"""Weight clustering with tfmot: wrap layers, train, strip the wrappers."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import tf_keras


def wrapped(
    model: "tf_keras.Model", chosen: Collection[str], clusters: int, initialisation: str, zeros: bool, per_channel: bool
) -> "tf_keras.Model":
    """The model with those layers, by name, wrapped: each kernel has so many centroids.

    zeros: keep the zeros of kernels that have any. The wrapper itself is taken, because tfmot's `cluster_weights`
    leaves a per-channel Conv2D without a bias alone, and does not say so.
    """
    import tensorflow_model_optimization as tfmot
    import tf_keras
    from tensorflow_model_optimization.python.core.clustering.keras.cluster_wrapper import ClusterWeights

    kinds = tfmot.clustering.keras.CentroidInitialization
    start = {
        "linear": kinds.LINEAR,
        "density": kinds.DENSITY_BASED,
        "random": kinds.RANDOM,
        "kmeans++": kinds.KMEANS_PLUS_PLUS,
    }[initialisation]

    def wrap(layer: "tf_keras.layers.Layer") -> "tf_keras.layers.Layer":
        if layer.name not in chosen:
            return layer
        return ClusterWeights(layer, clusters, start, zeros and _has_zeros(layer), per_channel)

    return tf_keras.models.clone_model(model, clone_function=wrap)


def stripped(model: "tf_keras.Model") -> "tf_keras.Model":
    """The model without the wrappers, weights at their centroids."""
    import tensorflow_model_optimization as tfmot

    return tfmot.clustering.keras.strip_clustering(model)


def kernel(layer: "tf_keras.layers.Layer") -> NDArray[np.float32] | None:
    """The weights that are clustered in a layer; None for one that is not of a kind we cluster."""
    from tf_keras import layers

    if type(layer) not in (layers.Conv1D, layers.Conv2D, layers.Conv2DTranspose, layers.Dense):
        return None
    values: NDArray[np.float32] = layer.kernel.numpy()
    return values


def _has_zeros(layer: "tf_keras.layers.Layer") -> bool:
    values = kernel(layer)
    return values is not None and not values.all()


def zero_keeper(layers: list["tf_keras.layers.Layer"]) -> "tf_keras.callbacks.Callback":
    """Sets what is zero now to zero after each step, in pruned layers that are not clustered."""
    import tf_keras

    kernels = [weight for layer in layers for weight in layer.trainable_weights if weight.shape.rank > 1]
    masks = [kernel.numpy() != 0 for kernel in kernels]

    def keep(batch: int, logs: Any) -> None:
        for kernel, mask in zip(kernels, masks, strict=True):
            kernel.assign(kernel * mask)

    return tf_keras.callbacks.LambdaCallback(on_train_batch_end=keep)
