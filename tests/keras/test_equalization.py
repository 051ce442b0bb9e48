"""Equalisation of a network: equal outputs, equal ranges."""

import numpy as np
import pytest


def chain(layers, x):
    """Every kernel, each behind a normalisation or without one, and most of what passes a factor on."""
    x = layers.Conv2D(6, 3, use_bias=False, name="conv")(x)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(x))
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="depthwise")(x)
    x = layers.LeakyReLU()(layers.BatchNormalization(name="norm2")(x))
    x = layers.SeparableConv2D(8, 3, padding="same", depth_multiplier=2, activation="relu", name="separable")(x)
    x = layers.MaxPooling2D(2)(layers.ZeroPadding2D(1)(layers.Conv2DTranspose(4, 2, use_bias=False, name="up")(x)))
    x = layers.BatchNormalization(name="norm3")(x)
    x = layers.Dropout(0.5)(layers.Flatten()(x))
    return layers.Dense(3, name="out")(layers.Dense(8, activation="relu", name="dense")(x))


def residual(layers, x):
    """A sum, a shared layer, ReLU6, groups and a normalisation alone: each forbids something."""
    x = layers.ReLU(6.0, name="relu6")(layers.Conv2D(4, 1, name="stem")(x))
    y = layers.Conv2D(4, 1, name="inner2")(layers.Conv2D(4, 1, activation="relu", name="inner1")(x))
    x = layers.BatchNormalization(name="alone")(layers.Add(name="sum")([x, y]))
    shared = layers.Conv2D(4, 1, name="shared")
    x = layers.Conv2D(4, 1, groups=2, name="grouped")(layers.Conv2D(4, 1, name="before")(shared(shared(x))))
    return layers.Dense(3, activation="softmax", name="out")(layers.GlobalAveragePooling2D()(x))


def apart(pair):
    """How far the ranges of each channel are apart in the two layers of a pair: the logarithm of their ratio."""
    mine, theirs = (side.ranges for side in pair.sides)
    theirs = theirs.reshape(-1, len(mine)).max(axis=0)
    used = (mine > 0) & (theirs > 0)
    return np.where(used, np.abs(np.log(np.where(used, mine, 1) / np.where(used, theirs, 1))), 0)


def surgery_of(send):
    """For each net what its surgery did: equal outputs, pairs, reasons, ranges, zeros."""
    from pipeline.keras import tf

    tf.start(1)
    import tf_keras

    from pipeline.keras.surgery import equalization, folding, graph, relu6

    random = np.random.default_rng(3)
    x = random.normal(size=(16, 6, 6, 2)).astype(np.float32)
    for net in (chain, residual):
        image = tf_keras.Input((6, 6, 2))
        model = graph.Rebuild().model(tf_keras.Model(image, net(tf_keras.layers, image)))
        for weight in model.weights:
            values = random.uniform(0.1, 1, weight.shape) * random.choice([0.2, 1, 5], weight.shape[-1])
            zeros = 1 if weight.shape.rank == 1 else random.random(weight.shape) < 0.7
            weight.assign(values * zeros * (1 if "variance" in weight.name else random.choice([-1, 1], weight.shape)))
        before, fold = model.predict(x, verbose=0), folding.Folded()
        folded = fold.model(model)
        pairs, reasons = equalization.pairs(folded)
        ends = equalization.largest(folded, pairs, [x])
        empty = [np.mean(pair.sides[0].kernel.numpy() == 0) for pair in pairs]
        rounds = equalization.equalize(pairs, ends)
        unlimited = relu6.Unlimited().model(model)
        send({
            "error": np.abs(folded.predict(x, verbose=0) - before).max() / np.abs(before).max(),
            "pairs": [(pair.first, pair.second) for pair in pairs],
            "reasons": reasons,
            "folded": fold.folded,
            "left": fold.left,
            "rounds": rounds,
            "apart": [apart(pair) for pair in pairs],
            "ends": (ends, equalization.largest(folded, pairs, [x])),
            "zeros": (empty, [np.mean(pair.sides[0].kernel.numpy() == 0) for pair in pairs]),
            "unlimited": [pair.first for pair in equalization.pairs(unlimited)[0]],
        })  # fmt: skip


@pytest.fixture(scope="module")
def nets(in_child):
    return dict(zip(("chain", "residual"), in_child(surgery_of), strict=True))


def test_the_network_gives_the_same_and_zeros_stay(nets):
    for net in nets.values():
        assert net["error"] < 1e-4
        assert net["zeros"][0] == net["zeros"][1]
    assert min(nets["chain"]["zeros"][0]) > 0.2


def test_every_kernel_of_a_chain_is_equalised_with_the_next(nets):
    chain = nets["chain"]
    assert chain["folded"] == ["norm", "norm2"]
    assert chain["left"] == {"norm3": "stands behind max_pooling2d, which has no kernel"}
    assert chain["pairs"] == [
        ("conv", "depthwise"), ("depthwise", "separable"), ("separable", "separable"), ("separable", "up"),
        ("dense", "out"),
    ]  # fmt: skip
    assert list(chain["reasons"]) == ["up", "out"]
    assert 2 < chain["rounds"] < 500


def test_channels_have_equal_ranges_in_both_layers_or_the_largest_result_of_theirs(nets):
    for net in nets.values():
        for apart, ends, before in zip(net["apart"], net["ends"][1], net["ends"][0], strict=True):
            assert np.all((apart < 0.01) | (ends > 0.99 * ends.max()))
            assert ends.max() <= before.max() * (1 + 1e-5)


def test_what_can_not_be_equalised_is_told(nets):
    residual = nets["residual"]
    assert residual["pairs"] == [("inner1", "inner2"), ("grouped", "out")]
    assert residual["reasons"] == {
        "stem": "reaches relu6, which passes no factor on: ReLU up to 6",
        "inner2": "reaches sum, which passes no factor on: Add",
        "shared": "is called several times",
        "before": "reaches grouped, a convolution in groups",
        "out": "passes no factor on: the activation softmax",
    }
    assert residual["unlimited"] == ["inner1", "grouped"]
