"""Which layers suffer from 8 bits: simulated as the file computes it, ranked, and passed on."""

import json
import shutil

import numpy as np
import pytest

from pipeline import tflite
from pipeline.core.errors import ConfigError, StageError
from pipeline.stages.convert import Convert
from pipeline.stages.sensitivity import Sensitivity
from pipeline.stages.sensitivity_facts import SensitivityFacts
from pipeline.stages.stage import Artifact
from pipeline.stages.worst import Worst
from pipeline.verify.interpreters import litert
from tests.support.stages import DATA, content, facts


@pytest.fixture(scope="module")
def told(trained, tmp_path_factory):
    """The trained model, with facts that are changed."""

    def tell(**more):
        folder = shutil.copytree(trained.path, tmp_path_factory.mktemp("told") / "work")
        (folder / "facts.json").write_text(json.dumps(facts(trained) | more))
        return Artifact("told", "keras", folder)

    return tell


@pytest.fixture(scope="module")
def ranking(runner, told):
    return runner(Sensitivity(stage="sensitivity"), told(sparsity={"conv2": 0.5}))


def decibel(exact, outputs):
    return 10 * np.log10(np.sum(exact**2) / np.sum((exact - outputs) ** 2))


def test_all_layers_simulated_are_what_the_file_computes(runner, trained, ranking):
    x, _ = DATA.split("validation").batch(np.arange(179))
    exact, outputs = (
        litert.run(runner(Convert(stage="convert", quantization=kind), trained).path / "model.tflite", x)
        for kind in ("float32", "int8")
    )
    found = SensitivityFacts.model_validate(facts(ranking)["sensitivity"])
    assert found.all.sqnr_db == pytest.approx(decibel(exact, outputs), abs=1.5)
    assert found.all.flips == pytest.approx(np.sum(exact.argmax(1) != outputs.argmax(1)), abs=2)


def test_every_layer_is_ranked_the_most_harmful_first(ranking):
    found = SensitivityFacts.model_validate(facts(ranking)["sensitivity"])
    alone = [row.alone.sqnr_db for row in found.layers]
    assert alone == sorted(alone)
    assert {row.layer for row in found.layers} == {"image", "conv1", "conv2", "conv3", "logits"}
    conv1 = next(row for row in found.layers if row.layer == "conv1")
    assert conv1.layers == ("conv1", "norm1", "relu1")
    for row in found.layers:  # a part of the rounding is never worse than all of it by much
        assert row.alone.sqnr_db > found.all.sqnr_db - 0.5
        assert row.spared.sqnr_db > found.all.sqnr_db - 2


def test_the_model_is_passed_on_with_what_is_known_of_it(ranking, trained):
    assert content(ranking)["model.h5"] == content(trained)["model.h5"]
    assert facts(ranking)["sparsity"] == {"conv2": 0.5}


def test_the_worst_layers_are_kept_in_16_bits(runner, ranking):
    names = [row["layer"] for row in facts(ranking)["sensitivity"]["layers"] if row["kind"] != "InputLayer"]
    made = runner(Convert(stage="convert", quantization="int8", keep_int16={"worst": 2}), ranking)
    model = tflite.read(made.path / "model.tflite")
    finer = {op.outputs[0].name for op in model.ops if op.weights and op.outputs[0].dtype == "INT16"}
    assert len(finer) == 2
    assert all(any(name in tensor for tensor in finer) for name in names[:2])
    with pytest.raises(StageError, match="must be less than the number of layers that are ranked, 4"):
        Worst(worst=4).names(ranking.path)


def test_the_worst_need_a_ranking_right_above(planned):
    with pytest.raises(ConfigError, match=r"keep_float: needs the ranking of a sensitivity stage right above"):
        planned("  - {stage: train, epochs: 1}\n  - {stage: convert, quantization: int8, keep_float: {worst: 1}}\n")


@pytest.mark.parametrize("stage", ["{stage: sensitivity}", "{stage: auto, max_bytes: 9000}"])
def test_a_model_that_rounds_already_is_refused(planned, stage):
    with pytest.raises(ConfigError, match="can't follow qat"):
        planned(f"  - {{stage: train, epochs: 1}}\n  - {{stage: qat, epochs: 1}}\n  - {stage}\n")
