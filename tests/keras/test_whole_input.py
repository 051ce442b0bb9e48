"""Networks whose input is whole numbers: seen in the config alone, and rewritten with equal outputs."""

import numpy as np
import pytest

from pipeline.data.spec import Spec, Whole
from pipeline.keras.models import network_input
from pipeline.keras.models.file import File

QUANTITIES = {"dense": None, "mixed": None, "picture": Whole(256, ids=False)}
KNOWN = {
    "sequential": 1000, "functional": 50, "cast": 50, "columns": 50, "one_hot": 50, "multi_hot": 50, "nested": 77,
    "nested_sequential": 77, "masked": 50, "masked_lstm": 50, "compared": 50, "one_category": 9,
}  # fmt: skip
EXPECTED = QUANTITIES | {name: Whole(below, ids=True) for name, below in KNOWN.items()}


def networks(send, folder):
    """Save each network as .h5 and .keras, and send what both are seen as, and how far rebuilt ones are off."""
    import tensorflow as tf
    import tf_keras as keras
    from tf_keras import layers as k

    def made(body, shape=(12,), dtype=None):
        inputs = k.Input(shape, dtype=dtype)
        return keras.Model(inputs, k.Dense(3)(body(inputs)))

    def flat(x):
        return k.Flatten()(x)

    def embedded(x, below=50, **settings):
        return k.Embedding(below, 8, **settings)(x)

    inner = k.Input((12,))
    block = keras.Model(inner, flat(embedded(inner, 77)), name="block")
    both = k.Concatenate()
    found = {
        "dense": made(lambda x: x),
        "mixed": made(lambda x: both([flat(embedded(x[:, :6])), x[:, 6:]])),
        "picture": made(lambda x: flat(k.Rescaling(1 / 255)(x)), (4, 4, 1), "uint8"),
        "sequential": keras.Sequential([k.Embedding(1000, 8, input_length=12), k.Flatten(), k.Dense(3)]),
        "functional": made(lambda x: flat(embedded(x))),
        "cast": made(lambda x: flat(embedded(tf.cast(x, tf.int32)))),
        "columns": made(lambda x: both([flat(embedded(x[:, :6])), flat(embedded(x[:, 6:], 40))])),
        "one_hot": made(lambda x: flat(tf.one_hot(x, 50)), dtype="int32"),
        "multi_hot": made(k.CategoryEncoding(50), dtype="int64"),
        "one_category": made(k.CategoryEncoding(9, output_mode="one_hot"), (1,)),
        "nested": made(block),
        "nested_sequential": keras.Sequential(
            [keras.Sequential([k.Embedding(77, 8, input_length=12), k.Flatten()]), k.Dense(3)]
        ),
        "masked": made(lambda x: k.GlobalAveragePooling1D()(k.Dropout(0.5)(embedded(x, mask_zero=True)))),
        "masked_lstm": made(lambda x: k.LSTM(4)(embedded(x, mask_zero=True))),
        "compared": made(
            lambda x: flat(k.Multiply()([embedded(x), tf.cast(tf.not_equal(x, 0), tf.float32)[:, :, tf.newaxis]]))
        ),
    }
    random = np.random.default_rng(0)
    for name, network in found.items():
        shape = network.input_shape[1:]
        whole = EXPECTED[name]
        x = random.integers(0, min(whole.below, 40) if whole else 40, (16, *shape))
        x[:, 5:] = np.where(random.random((16, *x[:, 5:].shape[1:])) < 0.5, 0, x[:, 5:]) if x.ndim == 2 else x[:, 5:]
        expected = network(x.astype(network.inputs[0].dtype.name)).numpy()
        for suffix in (".h5", ".keras"):
            path = folder / f"{name}{suffix}"
            network.save(path)
            built = File(source="file", path=path).build(Spec(shape, ("a", "b", "c"), whole=whole))
            kind = np.int32 if whole and whole.ids else np.float32
            apart = float(np.abs(built(x.astype(kind)).numpy() - expected).max())
            send((name, File(source="file", path=path).whole(), built.inputs[0].dtype.name, apart))


@pytest.fixture(scope="module")
def seen(in_child, tmp_path_factory):
    return in_child(networks, tmp_path_factory.mktemp("networks"))


def test_the_network_says_what_its_input_is(seen):
    assert [(name, whole) for name, whole, _, _ in seen] == [(name, EXPECTED[name]) for name, *_ in seen]
    assert {name for name, *_ in seen} == EXPECTED.keys()


def test_ids_are_int32_and_quantities_float32_with_equal_outputs(seen):
    for name, whole, dtype, apart in seen:
        assert dtype == ("int32" if whole and whole.ids else "float32"), name
        assert apart < 1e-5, name


def left_to_calibration(send):
    """Send the layers that quantization-aware training leaves out of an Embedding before a mean, and before an LSTM."""
    from tf_keras import Model, layers

    from pipeline.keras.surgery import quantizers, rewrite

    for reader in (layers.GlobalAveragePooling1D(), layers.RNN(layers.LSTMCell(4), name="lstm")):
        inputs = layers.Input((12,), dtype="int32")
        x = layers.SpatialDropout1D(0.1)(layers.Embedding(50, 8, name="words")(inputs))
        wrapped = quantizers.Quantized(False)
        wrapped.model(rewrite.quantizable(Model(inputs, layers.Dense(3)(reader(x)))).model)
        send(wrapped.left)


def test_a_table_is_trained_with_rounding_unless_its_reader_is_calibrated(in_child):
    mean, lstm = in_child(left_to_calibration)
    assert mean == {}
    assert lstm["words"] == "it has the scale of what lstm reads, which is calibrated"


@pytest.mark.parametrize("config", [None, [], {}, {"class_name": "Sequential"}, {"config": {"layers": [1]}}, "x"])
def test_a_config_that_is_none_takes_real_numbers(config):
    assert network_input.whole(config) is None


def test_a_circle_of_layers_ends():
    layers = [
        {"class_name": "InputLayer", "config": {"name": "a"}, "inbound_nodes": []},
        {"class_name": "Reshape", "config": {"name": "b"}, "inbound_nodes": [[["a", 0, 0, {}], ["b2", 0, 0, {}]]]},
        {"class_name": "Reshape", "config": {"name": "b2"}, "inbound_nodes": [[["b", 0, 0, {}]]]},
    ]
    config = {"class_name": "Functional", "config": {"layers": layers, "input_layers": [["a", 0, 0]]}}
    assert network_input.whole(config) is None
