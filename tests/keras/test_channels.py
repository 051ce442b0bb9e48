"""Removing channels from a network: what stands and falls together, and the smaller network."""

import numpy as np
import pytest


def residual(layers, x):
    """Sum, difference, product and maximum of branches; a 1x1 skip; everything that batch normalisation needs."""
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same", name="a")(x)))
    y = layers.PReLU(shared_axes=[1, 2])(layers.Conv2D(8, 3, padding="same", name="b")(x))
    x = layers.Add()([x, y])
    x = layers.Subtract()([x, layers.Conv2D(8, 1, activation="tanh", name="c")(x)])
    x = layers.Maximum()([x, layers.Conv2D(8, 1, name="d")(x)])
    gate = layers.Reshape((1, 1, 8))(layers.GlobalAveragePooling2D()(x))
    gate = layers.Conv2D(8, 1, activation="sigmoid", name="f")(layers.Conv2D(4, 1, activation="relu", name="e")(gate))
    return layers.Dense(3, name="out")(layers.GlobalMaxPooling2D()(layers.Multiply()([x, gate])))


def concatenated(layers, x):
    """Offsets by concatenation, once with the same tensor twice, and positions by Flatten."""
    a = layers.Conv2D(4, 3, name="a")(layers.ZeroPadding2D()(x))
    b = layers.Conv2D(8, 3, padding="same", activation="relu", name="b")(x)
    both = layers.BatchNormalization()(layers.Concatenate()([a, b, a]))
    x = layers.MaxPooling2D()(layers.Conv2D(16, 3, padding="same", name="c")(both))
    x = layers.UpSampling2D()(layers.Add()([x, layers.AveragePooling2D()(both)]))
    return layers.Dense(3, name="out")(layers.Dense(8, name="d")(layers.Flatten()(x)))


def depthwise(layers, x):
    """Depthwise with a multiplier, separable, transposed, 1D and a layer that is used twice."""
    x = layers.Conv2D(4, 3, padding="same", name="a")(x)
    x = layers.BatchNormalization()(layers.DepthwiseConv2D(3, depth_multiplier=2, name="b")(x))
    x = layers.SeparableConv2D(8, 3, depth_multiplier=2, padding="same", name="c")(x)
    twice = layers.Conv2D(8, 3, padding="same", activation="elu", name="d")
    x = layers.Conv2DTranspose(4, 2, strides=2, name="e")(twice(twice(x)))
    x = layers.Conv1D(8, 3, name="f")(layers.Reshape((-1, 4))(x))
    return layers.Dense(3, name="out")(layers.Dropout(0.5)(layers.GlobalAveragePooling1D()(x)))


def unknown(layers, x):
    """Channels that must stay: across a normalisation, groups, other axes, the input, the output."""
    a = layers.LayerNormalization(name="n")(layers.Conv2D(4, 1, name="a")(x))
    b = layers.Conv2D(4, 1, groups=2, name="g")(layers.Conv2D(4, 1, name="b")(a))
    x = layers.Add()([x, layers.Conv2D(2, 1, name="c")(b)])
    x = layers.Reshape((-1,), name="r")(layers.Conv2D(4, 1, activation="softmax", name="d")(x))
    return layers.Dense(4, name="out")(layers.Dense(8, name="free")(x))


NETS = {net.__name__: net for net in (residual, concatenated, depthwise, unknown)}


def slim(send):
    """For each net: its groups with half of the free ones' channels removed, and the smaller net's largest error."""
    from pipeline.keras import tf

    tf.start(1)
    import tf_keras

    from pipeline.keras.pruning.channels import MIXING, wiring, without

    random = np.random.default_rng(2)
    x = random.normal(size=(5, 6, 6, 2)).astype(np.float32)
    for name, net in NETS.items():
        image = tf_keras.Input((6, 6, 2))
        model = tf_keras.Model(image, net(tf_keras.layers, image))
        for variable in model.weights:
            signs = 1 if "variance" in variable.name else random.choice([-1, 1], variable.shape)
            variable.assign(random.uniform(0.1, 1.0, variable.shape) * signs)
        wired = wiring(model)
        kept = wired.all.copy()
        for group in wired.groups:
            if not group.why:
                kept[random.permutation(group.channels)[: len(group.channels) // 2]] = False
        smaller = without(model, wired, kept)
        again = wiring(smaller)
        counts = wired.total_macs(kept), again.total_macs(again.all), smaller.count_params()
        whole = model.predict(x, verbose=0)
        for layer in model.layers:  # what reads a removed channel ignores it
            for variable, axes in wired.slices(layer) if type(layer).__name__ in MIXING else ():
                for axis, ids in axes.items():
                    if len(axes) == 2 and ids is not wired.gives[layer.name]:
                        shape = np.ones(len(variable.shape), int)
                        shape[axis] = -1
                        variable.assign(variable.numpy() * kept[ids].reshape(shape))
        masked = model.predict(x, verbose=0)
        error = np.abs(smaller.predict(x, verbose=0) - masked).max() / np.abs(masked).max()
        moved = np.abs(whole - masked).max() / np.abs(masked).max()
        parameters = sum(wired.parameters(layer, kept) for layer in model.layers)
        send((name, {g.layers: g.why for g in wired.groups}, float(error), float(moved), (*counts, parameters)))


@pytest.fixture(scope="module")
def slimmed(in_child):
    return {name: rest for name, *rest in in_child(slim)}


@pytest.mark.parametrize("name", NETS)
def test_the_smaller_network_gives_what_the_masked_one_gives(slimmed, name):
    _, error, moved, (macs, macs_of_smaller, parameters_of_smaller, parameters) = slimmed[name]
    assert error < 1e-5
    assert moved > 1e-3, "the channels that were removed did something"
    assert (macs, parameters) == (macs_of_smaller, parameters_of_smaller)


def test_layers_whose_outputs_meet_lose_the_same_channels(slimmed):
    free = {name: {layers for layers, why in groups.items() if not why} for name, (groups, *_) in slimmed.items()}
    assert free["residual"] == {("a", "b", "c", "d", "f"), ("e",)}
    assert free["concatenated"] == {("a", "c"), ("b", "c"), ("d",)}
    assert free["depthwise"] == {("a",), ("c", "d"), ("e",), ("f",)}
    assert free["unknown"] == {("free",)}


def test_what_can_not_be_removed_is_told(slimmed):
    whys = {layers[0]: why for layers, why in slimmed["unknown"][0].items()}
    assert whys["a"] == "reaches n, and what a LayerNormalization does to channels is unknown"
    assert whys["b"] == "reaches g, a convolution in groups"
    assert whys["g"] == "is a convolution in groups"
    assert whys["c"] == "is the model's input"
    assert whys["d"] == "ends in an activation that works across channels, or is unknown"
    assert whys["out"] == "makes the model's output"
