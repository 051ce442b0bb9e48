"""Equalisation: equal outputs, equal ranges; and what that and bias correction do for files with one scale a tensor."""

import json

import numpy as np
import pytest
import test_training
from pydantic import ValidationError
from test_training import DATA, MODEL, facts

from pipeline.core import processes
from pipeline.core.errors import StageError
from pipeline.keras.conversion.calibration import Calibration
from pipeline.keras.conversion.conversion import Conversion
from pipeline.stages.channel_prune import ChannelPrune
from pipeline.stages.convert import Convert
from pipeline.stages.equalize import Equalize
from pipeline.stages.prune import Prune
from pipeline.stages.qat import Qat
from pipeline.stages.recalibrate import Recalibrate
from pipeline.stages.sidecar import write_facts
from pipeline.stages.stage import Artifact, Inputs
from pipeline.verify import tensor_errors
from pipeline.verify.interpreters import litert

runner, trained = test_training.runner, test_training.trained


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
def nets(tmp_path_factory):
    found = []
    processes.call("surgery", tmp_path_factory.mktemp("surgery") / "log", found.append, surgery_of)
    return dict(zip(("chain", "residual"), found, strict=True))


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


def crook(send, source, target):
    """Scale channels by 0.05 to 20 and the next layer's weights back, in a net with zeros; how far outputs moved."""
    from pipeline.keras import tf

    tf.start(1)
    model = tf.load_model(source / "model.h5")
    x, _ = DATA.split("test").batch(np.arange(200))
    pruned = model.get_layer("conv3").kernel
    pruned.assign(np.where(np.abs(pruned) < np.median(np.abs(pruned)), 0, pruned))
    before, random = model.predict(x, verbose=0), np.random.default_rng(1)
    for name, reader in (("norm1", "conv2"), ("norm2", "conv3"), ("norm3", "logits")):
        norm, kernel = model.get_layer(name), model.get_layer(reader).kernel
        factors = np.exp(random.uniform(np.log(0.05), np.log(20), norm.gamma.shape))
        norm.gamma.assign(norm.gamma * factors)
        norm.beta.assign(norm.beta * factors)
        kernel.assign(kernel / np.tile(factors, kernel.shape[-2] // len(factors))[:, np.newaxis])
    tf.save_model(model, target / "model.h5")
    write_facts(target, sparsity={"conv3": 0.5})
    send(np.abs(model.predict(x, verbose=0) - before).max())


@pytest.fixture(scope="module")
def crooked(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("crooked")
    (folder / "model").mkdir()
    moved = []
    processes.call("crook", folder / "log", moved.append, crook, trained.path, folder / "model")
    assert moved[0] < 1e-5
    return Artifact("crooked", "keras", folder / "model")


@pytest.fixture(scope="module")
def equalized(runner, crooked):
    return runner(Equalize(stage="equalize"), crooked)


def test_the_stage_folds_equalises_and_tells_it(equalized):
    found = facts(equalized)
    assert found["difference"] < 1e-4
    assert [(row["layer"], row["done"], row["why"]) for row in found["layers"]] == [
        *((name, True, "") for name in ("norm1", "norm2", "norm3", "conv1", "conv2", "conv3")),
        ("logits", False, "reaches scores, which passes no factor on: Softmax"),
    ]
    assert all(row["spread"] < 0.1 * row["spread_before"] for row in found["layers"] if "spread" in row)
    (note,) = found["notes"]
    assert note.startswith("normalisations folded: 3; pairs of layers equalised: 3, in ")


def test_it_composes_with_what_prunes_before_and_behind_and_with_what_trains(runner, equalized):
    assert facts(equalized)["sparsity"] == {"conv3": 0.5}
    aware = runner(Qat(stage="qat", epochs=1, batch_size=128), equalized)
    assert facts(aware)["sparsity"] == {"conv3": 0.5}
    with pytest.raises(StageError, match=r"(?s)there is no batch normalisation .*received none.*leave the stage out"):
        runner(Recalibrate(stage="recalibrate"), equalized)
    smaller = runner(ChannelPrune(stage="channel_prune", keep=0.5, epochs=1, batch_size=128), equalized)
    zeros = runner(Prune(stage="prune", sparsity=0.5, epochs=1, batch_size=128, min_weights=100), smaller)
    assert set(facts(zeros)["sparsity"]) == {"conv2", "conv3"}


def files(send, folders, work):
    """int8 files with one scale for each weight tensor, and the float file of the first folder's model; their facts."""
    from pipeline.keras import tf

    tf.start(1)

    def run(name, folder, **settings):
        (work / name).mkdir()
        above = {"above": Artifact("above", "keras", folder)}
        Convert(stage="convert", **settings).run(
            Inputs(DATA, MODEL, 3, above, work, lambda progress: None, None), work / name
        )

    run("float", folders["crooked"], quantization="float32")
    for name, folder in folders.items():
        run(name, folder, quantization="int8", per_channel=False)
        run(f"{name}, corrected", folder, quantization="int8", per_channel=False, bias_correction=True)
    fine = {"keep_int16": ("conv2",), "keep_float": ("logits",), "calibration": Calibration(ranges="percentile")}
    run("mixed", folders["equalized"], quantization="int8", bias_correction=True, **fine)


@pytest.fixture(scope="module")
def converted(crooked, equalized, tmp_path_factory):
    """The folders of the files by their names."""
    work = tmp_path_factory.mktemp("files")
    folders = {"crooked": crooked.path, "equalized": equalized.path}
    processes.call("files", work / "log", lambda sent: None, files, folders, work)
    return {path.parent.name: path.parent for path in work.glob("*/model.tflite")}


def test_equalisation_brings_back_what_one_scale_a_tensor_wrecks(converted):
    x, _ = DATA.split("test").batch(np.arange(200))
    decided = {name: litert.run(folder / "model.tflite", x).argmax(axis=1) for name, folder in converted.items()}
    agreement = {name: np.mean(own == decided["float"]) for name, own in decided.items()}
    assert agreement["crooked"] < 0.75
    assert agreement["equalized"] > 0.95


def test_bias_correction_takes_the_mean_shift_out_of_the_file(converted):
    split = DATA.split("calibration")
    x, _ = split.batch(np.arange(len(split)))
    means = {
        name: tensor_errors.layers(folder / "model.tflite", x)["logits"][0].mean(axis=0)
        for name, folder in converted.items()
    }
    shifts = {name: np.abs(mean - means["float"]).max() for name, mean in means.items()}
    for name in ("crooked", "equalized"):
        assert shifts[f"{name}, corrected"] < 0.3 * shifts[name]
        found = json.loads((converted[f"{name}, corrected"] / "facts.json").read_text())
        assert [row["layer"] for row in found["layers"]] == ["conv1", "conv2", "conv3", "logits"]
        assert all(row["done"] and row["shift"] < 0.5 * row["shift_before"] for row in found["layers"])
        assert found["notes"][0].startswith("biases of 4 of 4 ops with weights corrected")
        sizes = [(converted[each] / "model.tflite").stat().st_size for each in (name, f"{name}, corrected")]
        assert abs(sizes[0] - sizes[1]) < 64


def test_bias_correction_works_beside_layers_that_stay_finer(converted):
    found = json.loads((converted["mixed"] / "facts.json").read_text())
    assert {row["layer"]: row["why"] for row in found["layers"]} == {
        "conv1": "", "conv2": "", "conv3": "", "logits": "computes in floats",
    }  # fmt: skip
    assert all(row["shift"] < 0.5 * row["shift_before"] for row in found["layers"] if row["done"])


def sums(send):
    """For each op with weights of a float file: what it adds up for the mean input, and the mean of what it writes."""
    from pipeline.keras import tf

    tf.start(1)
    import tf_keras
    from ai_edge_litert.tools import flatbuffer_utils
    from tf_keras import layers

    from pipeline import tflite
    from pipeline.tflite.accumulator import OPS, mean_sums

    image = tf_keras.Input((9, 8, 4), name="image")
    x = layers.Conv2D(6, (3, 2), strides=(2, 1), padding="same")(image)
    x = layers.Conv2D(4, 3, dilation_rate=(1, 2), groups=2)(x)
    x = layers.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2)(x)
    model = tf_keras.Model(image, layers.Dense(5)(layers.Flatten()(layers.Conv2D(3, 1)(x))))
    random = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(random.normal(size=weight.shape))
    content = Conversion(Convert(stage="convert", quantization="float32"), model).content(None)
    file, given = tflite.read(content), random.normal(size=(3, 9, 8, 4)).astype(np.float32)
    written = litert.Runner(file, kernels="builtin", keep=True).record(given)
    made = {op.outputs[0]: written[op.index] for op in file.ops} | {file.inputs[0]: given}
    options = flatbuffer_utils.convert_bytearray_to_object(content).subgraphs[0].operators
    for op in file.ops:
        if op.name in OPS:
            found = mean_sums(op, made[op.reads[0]].mean(axis=0), options[op.index].builtinOptions)
            send((op.name, found, made[op.outputs[0]].mean(axis=tuple(range(made[op.outputs[0]].ndim - 1)))))


def test_the_mean_of_what_an_op_adds_up_is_what_it_adds_up_for_the_mean(tmp_path):
    found = []
    processes.call("sums", tmp_path / "log", found.append, sums)
    assert sorted(name for name, _, _ in found) == ["CONV_2D"] * 3 + ["DEPTHWISE_CONV_2D", "FULLY_CONNECTED"]
    for _, computed, seen in found:
        assert computed == pytest.approx(seen, rel=1e-4, abs=1e-4)


def test_bias_correction_is_for_int8_alone():
    with pytest.raises(ValidationError, match="bias_correction: has no effect on int16x8; only int8 is corrected"):
        Convert(stage="convert", quantization="int16x8", bias_correction=True)
