"""Weight clustering with tfmot: wrap layers for training, and strip the wrappers afterwards."""

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import tf_keras


def wrapped(
    model: "tf_keras.Model", chosen: Collection[str], clusters: int, initialisation: str, zeros: bool, per_channel: bool
) -> "tf_keras.Model":
    """A copy of the model in which the layers of the names `chosen` are wrapped for clustering.

    clusters        number of centroids of each kernel
    initialisation  `linear`, `density`, `random` or `kmeans++`
    zeros           whether to keep the zeros of kernels that have any
    per_channel     whether each output channel of a Conv2D has its own centroids

    It uses tfmot's wrapper class, because `cluster_weights` silently skips a per-channel Conv2D without a bias.
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
    """The model without the wrappers, with each weight set to its centroid."""
    import tensorflow_model_optimization as tfmot

    return tfmot.clustering.keras.strip_clustering(model)


def kernel(layer: "tf_keras.layers.Layer") -> NDArray[np.float32] | None:
    """The kernel of a layer; None if the layer's class is not clustered."""
    from tf_keras import layers

    if type(layer) not in (layers.Conv1D, layers.Conv2D, layers.Conv2DTranspose, layers.Dense):
        return None
    values: NDArray[np.float32] = layer.kernel.numpy()
    return values


def _has_zeros(layer: "tf_keras.layers.Layer") -> bool:
    values = kernel(layer)
    return values is not None and not values.all()
