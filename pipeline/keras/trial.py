"""Do to a network with initial weights what TensorFlow may refuse: a training step, and a conversion."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.source import Data
from pipeline.keras import tf
from pipeline.keras.conversion.conversion import Conversion
from pipeline.keras.conversion.preparation import prepared
from pipeline.keras.conversion.request import INTEGER, Request
from pipeline.keras.surgery import convertible, quantizers, rewrite
from pipeline.keras.surgery.flat import flat
from pipeline.keras.training.batches import Augment, shuffled
from pipeline.keras.training.fit import loss_of

if TYPE_CHECKING:
    import tf_keras


def train(network: "tf_keras.Model", x: NDArray[Any], data: Data | None, seed: int) -> None:
    """A prediction and a training step. data: for the truth; None to train towards zeros."""
    outputs = network(x, training=False)
    if data is None:
        network.compile("sgd", "mse", jit_compile=False)
        network.train_on_batch(x, np.zeros(outputs.shape, np.float32))
        return
    task, train = data.spec().task, data.split("train")
    batches = shuffled(
        train, batch_size=len(x), task=task, outputs=network.output_shape[1:], seed=seed, epochs=range(1),
        augment=Augment(), weights=None,
    )  # fmt: skip
    network.compile("sgd", loss_of(network.output_shape[1:], task, tf.gives_logits(network)), jit_compile=False)
    network.train_on_batch(*next(iter(batches)))


def convert(network: "tf_keras.Model", request: Request, x: NDArray[Any], aware: bool) -> Iterator[str]:
    """Convert a network, and yield a note on what an integer file keeps in float."""
    integer = request.quantization in INTEGER
    cures = convertible.floats(network) if integer else {}
    if aware:
        network = quantizers.Quantized(False).model(rewrite.quantizable(flat(network), [x]).model)
    taken = prepared(network, request, aware, {}, x if integer else None)
    conversion = Conversion(request, taken.model, x.shape[1:], taken.origin)
    content = conversion.content(x if integer and not taken.aware else None)
    if taken.aware and conversion.floats(content):
        content = conversion.content(x)
    if integer and (floats := conversion.floats(content)):
        yield f"will keep {len(floats)} tensors in float: {'; '.join(map(str, floats[:3]))}"
        yield from (f"{layer} has no int8 kernel: {do}" for layer, do in cures.items())


def alone(network: "tf_keras.Model", name: str, x: NDArray[Any]) -> tuple["tf_keras.Model", NDArray[Any]]:
    """A network of one layer of the given network, and what that layer reads for examples x."""
    import tensorflow as tf
    import tf_keras

    network = flat(network)
    layer = network.get_layer(name)
    node = layer._inbound_nodes[-1]
    (read,) = {id(tensor): tensor for tensor in tf.nest.flatten(node.keras_inputs)}.values()
    values = np.asarray(tf_keras.Model(network.inputs, read)(x, training=False))
    given = tf_keras.Input(values.shape[1:], dtype=values.dtype)
    copy = type(layer).from_config(layer.get_config())
    args, kwargs = tf.nest.map_structure(
        lambda each: given if each is read else each, (node.call_args, node.call_kwargs)
    )
    return tf_keras.Model(given, tf.nest.flatten(copy(*args, **kwargs))[0]), values
