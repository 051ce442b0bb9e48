"""Networks without layers inside of layers: nested models and the wrappers of Keras are replaced by what they hold."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline.keras.surgery.builder import op
from pipeline.keras.surgery.graph import Call, Rebuild, graph_of

if TYPE_CHECKING:
    import tf_keras

# Layers that treat all positions alike: a layer of one step is one of all steps, with its channels last.
_OF_CHANNELS = {
    "Dense", "Embedding", "Activation", "ReLU", "LeakyReLU", "ELU", "Softmax", "Dropout", "Rescaling",
    "BatchNormalization", "LayerNormalization",
}  # fmt: skip
_MERGES = {"concat": "Concatenate", "sum": "Add", "mul": "Multiply", "ave": "Average"}


class Flat(Rebuild):
    """The network with equal outputs, in which Bidirectional and TimeDistributed are replaced by their inner layers.

    A Bidirectional becomes its two layers, of which the second reads backwards, and a merge. A TimeDistributed becomes
    its layer for all steps at once. Then every stage sees the inner layers, by their own names.
    """

    def visit(self, call: Call) -> Any:
        rule = RULES.get(type(call.layer).__name__) if type(call.layer).__module__.startswith("tf_keras.") else None
        found = rule(self, call) if rule else None
        return self.copy(call) if found is None else found


def flat(model: "tf_keras.Model") -> "tf_keras.Model":
    """The model without layers inside of layers; itself if it has none. Raises StageError for a subclassed model."""
    import tf_keras

    deep = any(isinstance(layer, tf_keras.Model) or type(layer).__name__ in RULES for layer in model.layers)
    return model if getattr(model, "_is_graph_network", False) and not deep else Flat().model(model)


def _bidirectional(build: Flat, call: Call) -> Any | None:
    """Both layers and their merge; None for one that is given or gives states, which stays as it is."""
    import tensorflow as tf
    from tf_keras import layers

    wrapper: Any = call.layer
    given = [value for name, value in call.kwargs.items() if name not in ("training", "mask") and value is not None]
    if wrapper.return_state or given or len(call.args) > 1 or isinstance(call.x, (list, tuple)):
        return None
    forward, backward = (
        build.copy(replace(call, layer=layer)) for layer in (wrapper.forward_layer, wrapper.backward_layer)
    )
    if wrapper.return_sequences:  # a layer that reads backwards gives its steps in that order
        make = op(tf.reverse)
        inner = replace(call, layer=wrapper.backward_layer)
        backward = build.put(inner, lambda name: make(name=name), backward, suffix="_turned", axis=[1])
    if wrapper.merge_mode is None:
        return [forward, backward]
    kind = getattr(layers, _MERGES[wrapper.merge_mode])
    return build.put(call, lambda name: kind(name=name), [forward, backward])


def _time_distributed(build: Flat, call: Call) -> Any | None:
    """The layer for all steps at once; None where the number of steps is open."""
    import tensorflow as tf
    import tf_keras

    inner: Any = call.layer.layer
    of_inner = replace(call, layer=inner)
    if type(inner).__name__ in _OF_CHANNELS and not isinstance(inner, tf_keras.Model):
        return build.put(of_inner, _of_channels(inner), call.x, weights=inner.get_weights(), **_training(call))
    steps = call.x.shape[1]
    if steps is None:
        return None
    reshape = op(tf.reshape)
    rows = build.put(call, lambda name: reshape(name=name), call.x, suffix="_steps", shape=(-1, *call.x.shape[2:]))
    if isinstance(inner, tf_keras.Model):
        (y,) = build.walk(graph_of(inner), [rows], call.kwargs.get("training"))
    else:
        y = build.copy(replace(of_inner, args=(rows,), kwargs=_training(call)))
    return build.put(call, lambda name: reshape(name=name), y, shape=(-1, steps, *y.shape[1:]))


def _of_channels(inner: "tf_keras.layers.Layer") -> "Callable[[str], tf_keras.layers.Layer]":
    def make(name: str) -> "tf_keras.layers.Layer":
        config = inner.get_config() | {"name": name}
        return type(inner).from_config(config | ({"axis": -1} if "axis" in config else {}))

    return make


def _training(call: Call) -> dict[str, Any]:
    return {name: value for name, value in call.kwargs.items() if name == "training"}


RULES: "dict[str, Callable[[Flat, Call], Any | None]]" = {
    "Bidirectional": _bidirectional,
    "TimeDistributed": _time_distributed,
}
