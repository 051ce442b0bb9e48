"""A network as users bring them: nested, in part frozen, one layer called twice, of any image size, softmax inside."""

import numpy as np
import pytest

from pipeline import tflite
from pipeline.core.store import Store
from pipeline.data.sources.digits import Digits
from pipeline.keras.layer_values import layer_values
from pipeline.verify import tensor_errors

CONFIG = """
name: tiny
seed: 5
data: {source: digits}
model: {source: file, path: own.h5}
stages:
  - {stage: train, epochs: 2, learning_rate: 0.005}
  - {stage: convert, name: float, quantization: float32}
  - {stage: equalize, from: train}
  - {stage: convert, name: ptq, quantization: int8}
  - {stage: prune, from: train, sparsity: 0.5, epochs: 1, min_weights: 100}
  - {stage: qat, epochs: 1}
  - {stage: convert, name: small, quantization: int8}
  - {stage: verify, of: [ptq, small], baseline: float, checks: [{check: integer_only}, {check: int8_spec}]}
"""


def save(send, path, variance):
    """Save the network; `variance` is that of its last normalisation."""
    import tf_keras as keras
    from tf_keras import layers

    keras.utils.set_random_seed(1)
    side = layers.Input((None, None, 8))
    y = layers.Conv2D(8, 3, padding="same", use_bias=False, name="deep")(side)
    block = keras.Model(side, layers.ReLU()(layers.BatchNormalization()(y)), name="block")
    twice = layers.Conv2D(8, 1, activation="relu", name="twice")
    x = inputs = layers.Input((None, None, 1))
    x = layers.Conv2D(8, 3, padding="same", activation="relu", trainable=False, name="still")(x)
    x = layers.Add()([twice(twice(block(x))), x])
    x = layers.Multiply()([x, layers.Softmax(name="weights")(x)])
    last = layers.BatchNormalization(name="last")
    x = layers.GlobalAveragePooling2D()(last(x))
    network = keras.Model(inputs, layers.Dense(10, activation="softmax", name="out")(x))
    last.set_weights([*last.get_weights()[:3], np.full(8, variance)])
    network.save(path)


def weights(send, path, name):
    import tf_keras as keras

    for array in keras.models.load_model(path, compile=False).get_layer(name).get_weights():
        send(array)


def float_file(send, h5, path):
    """The errors of a float file against the network it is from."""
    import tf_keras as keras

    network = keras.models.load_model(h5, compile=False)
    x, _ = Digits().split("test").batch(np.arange(8))
    send(tensor_errors.errors(path, x, layer_values(network, x), floats=True))


@pytest.fixture(scope="module")
def ran(pipeline, in_child):
    ran = pipeline(CONFIG)
    in_child(save, ran.folder / "own.h5", 1.0)
    ran.run()
    return ran


def stored(ran, name):
    """The network of a stage, in the store."""
    key = next(step.key for step in ran.report.steps if step.name == name)
    return Store(ran.folder / "store").get(key).path / "model.h5"


def test_it_ends_as_files_of_integers_that_follow_the_specification(ran):
    report = ran.report
    assert {result.status for result in report.checks} == {"pass"}
    assert tflite.read(ran.folder / "runs" / "tiny" / "small.tflite").quantization == "int8"


def test_each_tensor_is_compared_with_what_its_layer_computes(ran):
    tensors = {tensor.layer: tensor for tensor in ran.report.models[1].tensors}
    assert {"still", "twice", "weights", "out"} <= tensors.keys()
    assert min(tensor.sqnr_db for tensor in tensors.values()) > 10


def test_a_frozen_layer_keeps_its_weights(ran, in_child):
    before = in_child(weights, stored(ran, "train"), "still")
    after = in_child(weights, stored(ran, "prune"), "still")
    for each, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(each, other)


def test_a_float_file_has_no_errors_but_those_of_float32(ran, in_child):
    (found,) = in_child(float_file, stored(ran, "train"), ran.folder / "runs" / "tiny" / "float.tflite")
    assert {"deep", "twice", "weights", "out"} & {error.layer for error in found}
    assert all(error.sqnr_db is None or error.sqnr_db > 100 for error in found)


def test_a_network_that_gives_nan_is_refused_before_anything_is_converted(pipeline, in_child):
    ran = pipeline(CONFIG.replace("epochs: 2", "epochs: 0"))
    in_child(save, ran.folder / "own.h5", -1.0)
    _, err = ran.run(code=4)
    assert "gives NaN or infinity" in err
    assert "'last'" in err
    assert not list(ran.folder.rglob("*.tflite"))
