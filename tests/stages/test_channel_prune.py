"""Removing channels: what stands and falls together, the smaller network, and the stage."""

import re

import numpy as np
import pytest
from pydantic import ValidationError
from test_training import DATA, MODEL, Runner, content, facts

from pipeline import tflite
from pipeline.core import processes
from pipeline.core.errors import StageError
from pipeline.data.spec import Spec
from pipeline.keras.models.resnet8 import Resnet8
from pipeline.stages.channel_prune import ChannelPrune
from pipeline.stages.convert import Convert
from pipeline.stages.stage import Artifact, Inputs
from pipeline.stages.train import Train


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
def slimmed(tmp_path_factory):
    found = []
    processes.call("slim", tmp_path_factory.mktemp("slim") / "log", found.append, slim)
    return {name: rest for name, *rest in found}


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


def resnet8_at_60_percent(send, folder):
    """The files of a ResNet-8 before and after, with 60 % of its MACs left, and what one step more would leave."""
    from pipeline.keras import tf

    tf.start(1)
    import tensorflow

    from pipeline.keras.pruning import importance
    from pipeline.keras.pruning.channels import wiring, without
    from pipeline.stages.channel_prune import _kept

    model = Resnet8(source="resnet8").build(Spec((32, 32, 3), tuple("abcdefghij")))
    wired = wiring(model)
    whole = {"stem": 1, "block2_conv2": 1, "block3_conv2": 1}
    stage = ChannelPrune(stage="channel_prune", keep_macs=0.6, layers=whole, epochs=1)
    scores = importance.norms(wired, 1)
    _, counts = stage._counts(wired, scores)
    send([wired.total_macs(_kept(wired, scores, counts | {name: counts[name] + 4})) for name in counts
          if name in ("block1_conv1", "block2_conv1", "block3_conv1")])  # fmt: skip
    for name, net in (("whole", model), ("smaller", without(model, wired, _kept(wired, scores, counts)))):
        path = folder / f"{name}.tflite"
        path.write_bytes(tensorflow.lite.TFLiteConverter.from_keras_model(net).convert())
        send((path, wiring(net).total_macs(wiring(net).all)))


def test_the_file_of_a_resnet8_has_60_percent_of_the_macs(tmp_path):
    found = []
    processes.call("resnet8", tmp_path / "log", found.append, resnet8_at_60_percent, tmp_path)
    more, *files = found
    (whole, macs), (smaller, fewer) = [(tflite.read(path), macs) for path, macs in files]
    assert (whole.macs, smaller.macs) == (macs, fewer)
    assert macs == 12_501_632
    assert 0.59 < fewer / macs <= 0.6
    assert len(more) == 3
    assert min(more) / macs > 0.6
    assert files[1][0].stat().st_size < 0.7 * files[0][0].stat().st_size


# The stage


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    return Runner(tmp_path_factory.mktemp("channels"), model=Resnet8(source="resnet8", filters=8))


@pytest.fixture(scope="module")
def trained(runner):
    return runner(Train(stage="train", epochs=1, batch_size=128))


def pruning(**settings):
    return ChannelPrune.model_validate({"stage": "channel_prune", "epochs": 2, "batch_size": 128} | settings)


def test_an_interrupted_channel_pruning_ends_with_the_same_bytes_and_tells_what_it_did(runner, trained):
    stage = pruning(keep_macs=0.6, criterion="taylor", batches=2, layers={"stem": 1.0})
    artifact = runner(stage, trained)
    assert content(artifact) == content(runner(stage, trained, interrupt_after=1))
    rows = {row["layer"]: row for row in facts(artifact)["layers"]}
    before, after = (sum(row["macs"][i] for row in rows.values()) for i in (0, 1))
    assert 0.4 < after / before <= 0.6
    assert rows["stem"]["why"] == rows["block1_conv2"]["why"] == "is named in layers with 1"
    assert rows["logits"]["why"] == "makes the model's output"
    assert rows["block2_skip"]["channels"] == rows["block2_conv2"]["channels"]
    assert rows["block3_conv1"]["done"]
    assert rows["block3_conv1"]["channels"][1] % 4 == 0
    assert facts(artifact)["notes"][0].startswith("MACs went from")
    file = runner(Convert(stage="convert", quantization="float32"), Artifact("slim", "keras", artifact.path, trained))
    assert tflite.read(file.path / "model.tflite").macs == after


def test_a_share_of_each_layer_is_kept_and_patterns_change_it(runner, trained):
    stage = pruning(keep=0.5, criterion="bn_scale", multiple=2, layers={"*conv1": 0.25, "block1_conv1": 0.75}, epochs=1)
    rows = {row["layer"]: row["channels"] for row in facts(runner(stage, trained))["layers"]}
    assert rows == {
        "stem": [8, 4], "block1_conv1": [8, 6], "block1_conv2": [8, 4], "block2_conv1": [16, 4],
        "block2_conv2": [16, 8], "block2_skip": [16, 8], "block3_conv1": [32, 8], "block3_conv2": [32, 16],
        "block3_skip": [32, 16], "logits": [10, 10],
    }  # fmt: skip


def test_layers_alone_leave_the_others_whole(runner, trained):
    rows = facts(runner(pruning(layers={"block1_conv1": 0.5}, epochs=1), trained))["layers"]
    assert {row["layer"]: row["channels"] for row in rows if row["done"]} == {"block1_conv1": [8, 4]}


def test_what_is_to_be_kept_is_said_once():
    for settings, message in (
        ({}, "give keep_macs, keep or layers"),
        ({"keep": 0.5, "keep_macs": 0.5}, "give either keep_macs or keep"),
    ):
        with pytest.raises(ValidationError, match=message):
            pruning(**settings)


REFUSED = [
    (
        {"keep": 0.5, "layers": {"block4_*": 0.5, "logits": 0.5}},
        r"matches 'block4_\*'(.|\n)*did you mean(.|\n)*logits can go",
    ),
    ({"keep": 0.5, "layers": {"block2_skip": 0.5, "block2_conv2": 0.25}}, r"lose the same .*received \[0.25, 0.5\]"),
    ({"keep_macs": 0.01}, r"keep_macs must be at least 0\.\d+ with least: 0.25 and multiple: 4 \(received 0.01\)"),
    ({"keep": 0.5, "multiple": 64}, r"there is no channel to remove \(received stem"),
]


def refusals(send, model):
    """What each of REFUSED is told."""
    for settings, _ in REFUSED:
        inputs = Inputs(DATA, MODEL, 1, {"train": model}, model.path, send, None)
        with pytest.raises(StageError) as refused:
            pruning(**settings).run(inputs, model.path)
        send(str(refused.value))


def test_channel_pruning_that_can_not_be_is_refused(trained, tmp_path):
    told = []
    processes.call("refusals", tmp_path / "log", told.append, refusals, trained)
    for (_, message), text in zip(REFUSED, told, strict=True):
        assert re.search(message, text), text
