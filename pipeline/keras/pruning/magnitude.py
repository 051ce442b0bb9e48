"""Magnitude pruning with tfmot: wrap layers for training, and strip the wrappers afterwards."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tf_keras


def wrapped(model: "tf_keras.Model", pruned: Mapping[str, Mapping[str, Any]]) -> "tf_keras.Model":
    """A copy of the model with layers wrapped. pruned: layer -> its arguments of tfmot's `prune_low_magnitude`."""
    import tensorflow_model_optimization as tfmot
    import tf_keras

    def wrap(layer: "tf_keras.layers.Layer") -> "tf_keras.layers.Layer":
        if layer.name not in pruned:
            return layer
        return tfmot.sparsity.keras.prune_low_magnitude(layer, **pruned[layer.name])

    return tf_keras.models.clone_model(model, clone_function=wrap)


def step() -> "tf_keras.callbacks.Callback":
    """The callback that the training of a wrapped model needs."""
    import tensorflow_model_optimization as tfmot

    return tfmot.sparsity.keras.UpdatePruningStep()


def stripped(model: "tf_keras.Model") -> "tf_keras.Model":
    """The model without the wrappers, with zeros in its weights."""
    import tensorflow_model_optimization as tfmot

    return tfmot.sparsity.keras.strip_pruning(model)


def kernels(layer: "tf_keras.layers.Layer") -> list[Any] | None:
    """The weights that tfmot prunes in a layer; None if tfmot does not support the layer."""
    from tensorflow_model_optimization.python.core.sparsity.keras.prune_registry import PruneRegistry

    if not PruneRegistry.supports(layer):
        return None
    PruneRegistry.make_prunable(layer)
    return list(layer.get_prunable_weights())
