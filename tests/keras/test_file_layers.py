"""Which layers a converted file says that its ops are of, for names and networks that guessing gets wrong."""

from collections.abc import Callable
from typing import Any

import pytest

SHAPE = (8, 8, 3)


def named_like_scopes(keras: Any) -> Any:
    """Layers with the names of TensorFlow's inner scopes and ops, and a network with the name of one of them."""
    layers = keras.layers
    x = image = layers.Input(SHAPE, name="image")
    x = layers.Conv2D(4, 3, use_bias=False, name="Conv2D")(x)
    x = layers.ReLU(name="Relu")(layers.BatchNormalization(name="BiasAdd")(x))
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = layers.SeparableConv2D(6, 3, padding="same", name="MatMul")(x)
    x = layers.Conv2DTranspose(4, 3, name="while")(x)
    x = layers.GlobalAveragePooling2D(name="stack")(x)
    return keras.Model(image, layers.Dense(3, activation="softmax", name="Mean")(x), name="Conv2D")


def called_twice(keras: Any) -> Any:
    """The second call of `conv` has the scope `conv_1`, which is another layer's name."""
    layers = keras.layers
    x = image = layers.Input(SHAPE, name="image")
    conv = layers.Conv2D(3, 3, padding="same", activation="relu", name="conv")
    x = layers.Conv2D(4, 1, name="conv_1")(conv(conv(x)))
    return keras.Model(image, layers.Conv2D(2, 1, name="block/Tensordot")(x), name="net")


def nested(keras: Any) -> Any:
    """A nested network with a layer of the same name as one outside, called twice."""
    layers = keras.layers
    inside = [layers.Conv2D(4, 3, name="conv"), layers.ReLU(name="act")]
    backbone = keras.Sequential([layers.Input(SHAPE), *inside], name="backbone")
    image, other = layers.Input(SHAPE, name="image"), layers.MaxPooling2D(3, 1, "same", name="pool")
    x = layers.Concatenate(name="join")([backbone(image), backbone(other(image))])
    return keras.Model(image, layers.Conv2D(5, 1, name="conv")(x), name="net")


def recurrent(keras: Any) -> Any:
    """Fused LSTMs, whose ops have no name of a layer, of equal shapes; unrolled and wrapped ones."""
    layers = keras.layers
    x = image = layers.Input(SHAPE, name="image")
    x = layers.Reshape((8, 24), name="rows")(x)
    x = layers.LSTM(4, return_sequences=True, name="first")(x)
    x = layers.LSTM(4, return_sequences=True, name="second")(x)
    x = layers.LSTM(4, return_sequences=True, name="lstm_cell")(x)
    x = layers.Bidirectional(layers.LSTM(4, return_sequences=True, name="both"), name="while")(x)
    x = layers.GRU(3, unroll=True, name="gru")(x)
    return keras.Model(image, layers.Dense(2, name="out")(x), name="lstm")


def convert(send: Callable[[Any], None]) -> None:
    """Send, for each network as float and int8: op, names of its layers; and whether the graphs are those of before."""
    import numpy as np
    import tensorflow as tf

    from pipeline import tflite
    from pipeline.keras import tf as door

    door.load()
    import tf_keras as keras

    from pipeline.keras.conversion.converter import converter_of
    from pipeline.keras.conversion.file_layers import Layers
    from pipeline.keras.conversion.trace import traced

    for build in (named_like_scopes, called_twice, nested, recurrent):
        keras.utils.set_random_seed(1)
        network = build(keras)
        trace = traced(network, SHAPE)
        for kind in ("float32", "int8"):
            converter = converter_of(trace)
            if kind == "int8":
                rng = np.random.default_rng(1)
                samples = [{"image": rng.random((1, *SHAPE), np.float32)} for _ in range(4)]
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
                converter.representative_dataset = lambda samples=samples: iter(samples)
            plain = converter.convert()
            content = Layers(trace, {"Conv2D": "stem"}).embedded(plain)
            model, before = tflite.read(content), tflite.read(plain)
            same = [op.name for op in before.ops] == [op.name for op in model.ops] and all(
                np.array_equal(one.raw, two.raw) and one.scales == two.scales
                for one, two in zip(before.subgraphs[0].tensors, model.subgraphs[0].tensors, strict=True)
            )
            ops = [(op.name, model.layers_of(op)) for op in model.ops if op.name not in ("QUANTIZE", "DEQUANTIZE")]
            send((build.__name__, kind, same and model.layers_known, ops, len(model.metadata["EDGEPIPE_LAYERS"])))


@pytest.fixture(scope="module")
def files(in_child: Any) -> dict[tuple[str, str], Any]:
    return {(name, kind): found for name, kind, *found in in_child(convert)}


EXPECTED: dict[str, list[tuple[str, tuple[str, ...]]]] = {
    "named_like_scopes": [
        ("CONV_2D", ("Conv2D", "stem", "Relu")),
        ("DEPTHWISE_CONV_2D", ("depthwise",)),
        ("DEPTHWISE_CONV_2D", ("MatMul",)),
        ("CONV_2D", ("MatMul",)),
        ("TRANSPOSE_CONV", ("while",)),
        ("MEAN", ("stack",)),
        ("FULLY_CONNECTED", ("Mean",)),
        ("SOFTMAX", ("Mean",)),
    ],
    "called_twice": [
        ("CONV_2D", ("conv",)),
        ("CONV_2D", ("conv",)),
        ("CONV_2D", ("conv_1",)),
        ("CONV_2D", ("block/Tensordot",)),
    ],
    "nested": [
        ("CONV_2D", ("backbone/conv", "conv_inner", "backbone/act", "act")),
        ("MAX_POOL_2D", ("pool",)),
        ("CONV_2D", ("backbone/conv", "conv_inner", "backbone/act", "act")),
        ("CONCATENATION", ("join",)),
        ("CONV_2D", ("conv",)),  # an output keeps its name in the flat network, so the other is `conv_inner` there
    ],
}


@pytest.mark.parametrize("kind", ["float32", "int8"])
@pytest.mark.parametrize("name", EXPECTED)
def test_each_op_is_of_the_layer_that_it_is_of(files: dict[tuple[str, str], Any], name: str, kind: str) -> None:
    same, ops, size = files[name, kind]
    assert same
    assert sorted(ops) == sorted(EXPECTED[name])
    assert size < 120


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_ops_without_a_name_are_found_by_their_weights(files: dict[tuple[str, str], Any], kind: str) -> None:
    same, ops, _ = files["recurrent", kind]
    assert same
    fused = sorted(layers for op, layers in ops if op == "UNIDIRECTIONAL_SEQUENCE_LSTM")
    both = [(f"while/{way}_both", "while") for way in ("backward", "forward")]
    assert fused == [("first",), ("lstm_cell",), ("second",), *both]
    unrolled = {layers for op, layers in ops if op in ("FULLY_CONNECTED", "SPLIT", "TANH")}
    assert unrolled == {("gru/gru_cell", "gru"), ("out",)}
