"""Trace a Keras model to a TensorFlow graph, with a record of the name scope in which each layer is called.

The record tells which layer an op of a converted file is of, whatever the layer is called: TensorFlow names each op
after the scope that it is made in, numbers the scopes of further calls (``conv_1`` for the second call of ``conv``),
and the converter keeps these names.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from pipeline.keras.surgery.graph import own_name

if TYPE_CHECKING:
    import tensorflow
    import tf_keras


@dataclass(frozen=True)
class Trace:
    """A traced model.

    function  the model at batch 1 as a concrete function with named inputs and outputs, all of static shapes
    model     the Keras model
    scopes    name scope -> the layer whose call it is, the outermost model first
    """

    function: Any
    model: "tf_keras.Model"
    scopes: "Mapping[str, tf_keras.layers.Layer]"

    def scope(self, name: str) -> str:
        """The scope of the innermost layer that made the graph's op of that name; "" if none but the model did."""
        parts = name.split("/")
        ends = ("/".join(parts[:count]) for count in range(len(parts), 0, -1))
        return next((end for end in ends if end in self.scopes and self.scopes[end] is not self.model), "")

    def chain(self, scope: str) -> "list[tf_keras.layers.Layer]":
        """The layers whose calls surround a scope, from the outside in, without the outermost model."""
        around = (layer for each, layer in self.scopes.items() if f"{scope}/".startswith(f"{each}/"))
        return [layer for layer in around if layer is not self.model]

    def output_scope(self, name: str) -> str:
        """The scope of the layer that makes an output of the model; "" if none does."""
        op = self.function.graph.structured_outputs[name].op
        while not self.scope(op.name) and op.type == "Identity":
            op = op.inputs[0].op
        return self.scope(op.name)


def traced(model: "tf_keras.Model", shape: Sequence[int]) -> Trace:
    """Trace a model at batch 1. shape: of one example, for dimensions that are left open.

    Outputs have the names of the original model's, without the prefix `quant_` that tfmot gives to wrapped layers.
    """
    import tensorflow as tf

    own = {layer.name: own_name(layer) for layer in model.layers}
    outputs = [own.get(name, name) for name in model.output_names]
    signature = {
        name: tf.TensorSpec([1, *_closed(tensor.shape[1:], shape)], tensor.dtype, name=name)
        for name, tensor in zip(model.input_names, model.inputs, strict=True)
    }

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def forward(inputs: dict[str, "tensorflow.Tensor"]) -> dict[str, "tensorflow.Tensor"]:
        return dict(zip(outputs, tf.nest.flatten(model(inputs, training=False)), strict=True))

    with _recorded() as scopes:
        function = forward.get_concrete_function(signature)
    return Trace(function, model, scopes)


@contextmanager
def _recorded() -> "Iterator[dict[str, tf_keras.layers.Layer]]":
    """Record the scope of every call of a layer, except those in graphs of their own, such as the body of a loop."""
    import tensorflow as tf
    import tf_keras

    scopes: dict[str, tf_keras.layers.Layer] = {}
    graphs: list[Any] = []
    original = tf_keras.layers.Layer._autographed_call  # what Keras calls a layer with in a graph, inside its scope

    def recording(layer: "tf_keras.layers.Layer") -> Callable[..., Any]:
        call = original(layer)

        def recorded(*args: Any, **kwargs: Any) -> Any:
            graphs.append(tf.compat.v1.get_default_graph())
            if graphs[-1] is graphs[0]:
                scopes.setdefault(tf.get_current_name_scope(), layer)
            return call(*args, **kwargs)

        return recorded

    with patch.object(tf_keras.layers.Layer, "_autographed_call", recording):
        yield scopes


def _closed(dimensions: Sequence[int | None], shape: Sequence[int]) -> list[int]:
    """The dimensions of an input, those that are open as the examples have them."""
    if len(dimensions) != len(shape):
        return [size for size in dimensions if size is not None]
    return [size if own is None else own for own, size in zip(dimensions, shape, strict=True)]
