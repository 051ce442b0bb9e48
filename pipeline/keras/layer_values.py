"""What the layers of a network compute on examples, at every depth and for every call."""

from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import Fault, StageError
from pipeline.data.source import Data, spread
from pipeline.keras.surgery.flat import flat
from pipeline.keras.surgery.graph import own_name

if TYPE_CHECKING:
    import tf_keras

Values = NDArray[np.float32]

EXAMPLES = 64  # on which outputs must be finite

# Layers that multiply and then apply an activation of their own, which the converter makes an op of its own.
_TWO_STEPS = frozenset({
    "Dense", "EinsumDense", "Conv1D", "Conv2D", "Conv3D", "Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose",
    "DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D",
})  # fmt: skip


def layer_values(model: "tf_keras.Model", x: Values) -> dict[str, list[Values]]:
    """All that each layer gives for examples x (n, ...): one array (n, ...) for each call and each output of a call.

    By the layer's name before quantization, in running order; nested models are opened, and a layer in one is there by
    its own name. A layer with an activation inside has the values before it too. Raises StageError for a subclassed
    model.
    """
    import tensorflow as tf
    import tf_keras

    network = flat(model)
    found = list(_tensors(network))
    outputs = tf_keras.Model(network.inputs, [tensor for _, tensor in found])(x, training=False)
    values: dict[str, list[Values]] = defaultdict(list)
    for (name, _), output in zip(found, tf.nest.flatten(outputs), strict=True):
        values[name].append(np.asarray(output, np.float32))
    return dict(values)


def require_finite(model: "tf_keras.Model", data: Data) -> None:
    """StageError when the model gives NaN or infinity for training examples; names the first layer that does."""
    train = data.split("train")
    x, _ = train.batch(spread(len(train), EXAMPLES))
    if np.isfinite(np.asarray(model(x, training=False))).all():
        return
    name = next(
        name for name, arrays in layer_values(model, x).items() if not all(np.isfinite(each).all() for each in arrays)
    )
    raise StageError(
        Fault(
            "the model gives NaN or infinity",
            received=f"first in layer {name!r}, for training examples",
            do="look at that layer's weights (a negative variance of a batch normalisation gives NaN) and at the data",
        )
    )


def _tensors(network: "tf_keras.Model") -> Iterator[tuple[str, Any]]:
    """Each floating tensor of the network, with the name of the layer that gives it, in running order."""
    import tensorflow as tf

    twins: dict[str, Any] = {}
    for depth in sorted(network._nodes_by_depth, reverse=True):
        for node in network._nodes_by_depth[depth]:
            tensors = [*_before_activation(node, twins), *tf.nest.flatten(node.outputs)]
            yield from ((own_name(node.layer), tensor) for tensor in tensors if tensor.dtype.is_floating)


def _before_activation(node: Any, twins: dict[str, Any]) -> Iterator[Any]:
    """What a call gives before the layer's own activation, where it has one, by a twin of the layer without it."""
    import tf_keras

    layer = node.layer
    activation = getattr(layer, "activation", None)
    if type(layer).__name__ not in _TWO_STEPS or activation in (None, tf_keras.activations.linear):
        return
    kwargs = {key: value for key, value in node.call_kwargs.items() if key != "training"}
    if layer.name not in twins:
        config = layer.get_config() | {"activation": "linear", "name": f"{layer.name}_before_activation"}
        twins[layer.name] = type(layer).from_config(config)
        twins[layer.name](*node.call_args, **kwargs)
        twins[layer.name].set_weights(layer.get_weights())
    yield twins[layer.name](*node.call_args, **kwargs)
