"""The equalize stage, and what it and bias correction do for files with one scale a tensor."""

import json

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.core.errors import StageError
from pipeline.keras.conversion.calibration import Calibration
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
from tests.support.stages import DATA, MODEL, facts


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
    write_facts(target, sparsity={"conv3": 0.5}, pruned={"conv3": [1152]})
    send(np.abs(model.predict(x, verbose=0) - before).max())


@pytest.fixture(scope="module")
def crooked(trained, in_child, tmp_path_factory):
    folder = tmp_path_factory.mktemp("crooked")
    (folder / "model").mkdir()
    (moved,) = in_child(crook, trained.path, folder / "model")
    assert moved < 1e-5
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


def test_training_behind_it_keeps_the_zeros_of_before(runner, equalized):
    assert facts(equalized)["sparsity"] == {"conv3": 0.5}
    aware = runner(Qat(stage="qat", epochs=1, batch_size=128), equalized)
    assert facts(aware)["sparsity"] == {"conv3": 0.5}


def test_there_is_nothing_to_recalibrate_behind_it(runner, equalized):
    with pytest.raises(StageError, match=r"(?s)there is no batch normalisation .*received none.*leave the stage out"):
        runner(Recalibrate(stage="recalibrate"), equalized)


def test_channels_and_weights_are_pruned_behind_it(runner, equalized):
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
def converted(crooked, equalized, in_child, tmp_path_factory):
    """The folders of the files by their names."""
    work = tmp_path_factory.mktemp("files")
    folders = {"crooked": crooked.path, "equalized": equalized.path}
    in_child(files, folders, work)
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


def test_bias_correction_is_for_int8_alone():
    with pytest.raises(ValidationError, match="bias_correction: has no effect on int16x8; only int8 is corrected"):
        Convert(stage="convert", quantization="int16x8", bias_correction=True)
