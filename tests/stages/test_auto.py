"""The ladder: budgets that are judged with confidence, rungs in their order, and the first that keeps them ships."""

import json
import subprocess

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline import tflite
from pipeline.core import processes
from pipeline.core.errors import ConfigError, StageError
from pipeline.stages.auto import Auto
from pipeline.stages.convert import Convert
from pipeline.stages.ladder.budgets import excess
from pipeline.stages.ladder.climb import Climb
from pipeline.stages.ladder.rungs import RUNGS, Network
from pipeline.stages.ladder.settings import USUAL
from pipeline.stages.qat import Qat
from pipeline.stages.stage import Inputs
from pipeline.verify.checks.confidence import within
from pipeline.verify.model_facts import Paired
from pipeline.verify.scoring import statistics
from tests.support.stages import DATA, MODEL, stage_process

SHORT = {"epochs": 1, "batch_size": 256}

CONFIG = """
name: tiny
seed: 5
data: {source: digits, splits: {validation: 0.2}}
model: {source: small_cnn, filters: 4}
stages:
  - {stage: train, epochs: 3, batch_size: 64, learning_rate: 0.01}
  - {stage: sensitivity}
  - {stage: convert, name: float, from: train, quantization: float32}
  - stage: auto
    name: small
    from: train
    rungs: [ptq, qat, channel_qat]
    max_drop: 0.5
    max_macs: 10000
    epochs: 1
  - {stage: verify, of: [small], baseline: float, checks: [{check: macs, max: 10000}, {check: agreement, min: 0.9}]}
"""


@pytest.fixture(scope="module")
def climbed(pipeline):
    """A config with a ladder, run once."""
    climbed = pipeline(CONFIG)
    climbed.out, climbed.err = climbed.run()
    return climbed


def test_the_first_rung_that_keeps_every_budget_ships(climbed):
    ladder = next(step.ladder for step in climbed.report.steps if step.ladder)
    assert [(rung.rung, rung.status) for rung in ladder.rungs] == [
        ("ptq", "missed"), ("qat", "skipped"), ("channel_qat", "met"),
    ]  # fmt: skip
    assert ladder.chosen == "channel_qat"
    small = next(model for model in climbed.report.models if model.name == "small")
    assert ladder.rungs[-1].bytes == small.bytes
    assert ladder.rungs[-1].macs == small.macs <= 10_000
    assert ladder.rungs[-1].arena == small.arena.smallest
    assert "MACs" in ladder.rungs[0].why
    assert "a network of the same size does too" in ladder.rungs[1].why


def test_the_validation_split_decides_and_the_test_split_is_verified(climbed):
    ladder = next(step.ladder for step in climbed.report.steps if step.ladder)
    small = next(model for model in climbed.report.models if model.name == "small")
    splits = climbed.report.data.splits
    assert ladder.split_sha256 == splits["validation"].sha256
    assert ladder.rungs[0].paired.n == ladder.examples == splits["validation"].examples
    assert small.split_sha256 == splits["test"].sha256


def test_the_file_is_compared_with_the_keras_model_of_its_rung(climbed):
    small = next(model for model in climbed.report.models if model.name == "small")
    assert small.error.sqnr_db > 15  # of the network with fewer channels, not of the one above
    assert len(small.tensors) > 3


def test_every_form_of_the_report_shows_the_ladder_and_the_ranking(climbed):
    folder = climbed.folder / "runs" / "tiny"
    page, text = (folder / "report.html").read_text(), (folder / "report.md").read_text()
    assert "small: channel_qat is the first rung that keeps every budget" in climbed.out
    assert "| channel\\_qat | met |" in text
    assert 'id="ladder"' in page
    assert "stage: channel_prune" in page
    assert 'id="sensitivity"' in page
    assert "all but it" in page


def test_the_report_of_a_ladder_is_proved_again(climbed, edgepipe):
    folder = climbed.folder / "runs" / "tiny"
    code, out, err = edgepipe("verify", "--report", folder, "--rerun", "--store", climbed.folder / "store")
    assert (code, err.splitlines()[0]) == (0, f"checking {folder}")
    assert "needs the Keras model" not in out


def climb(runner, auto, above, root):
    """Run an auto stage that fails, in a store with what an earlier run of it left; gives the error."""
    work = root / "work"
    for folder in (root / "resume", work):
        folder.mkdir(parents=True, exist_ok=True)
    arguments = (auto, {above.name: above}, root / "resume", work, DATA, MODEL)
    with pytest.raises(StageError) as error:
        processes.call("auto", runner.folder / "log", lambda done: None, stage_process, *arguments)
    return str(error.value)


def test_no_rung_is_an_error_with_the_nearest_miss_and_all_rungs_which_are_made_once(runner, trained, tmp_path):
    auto = Auto(stage="auto", rungs=["qat", "distilled_qat4"], max_latency_ratio=1e-9, **SHORT)
    said = climb(runner, auto, trained, tmp_path)
    assert "no rung keeps every budget (received nearest is " in said
    for name in auto.rungs:
        assert f"\n    {name} missed: time on this machine against float32" in said

    aware = runner(Qat(stage="qat", learning_rate=5e-4, **SHORT), trained)
    as_stages = runner(Convert(stage="convert", quantization="int8"), aware).path / "model.tflite"
    entries = tmp_path / "store" / "v1" / "entries"
    made = {path.read_bytes() for path in entries.glob("*/model.tflite")}
    assert len(made) == 3  # float32, and another one for each rung
    assert as_stages.read_bytes() in made
    assert sorted(tflite.read(content).quantization for content in made) == ["float32", "int8", "int8x4"]

    def kept():
        return {path: path.stat().st_mtime_ns for path in (*entries.glob("*/model.*"), *tmp_path.glob("resume/*"))}

    before = kept()
    assert len(before) == 3 + 3 + 2  # files, networks (one of them recalibrated), facts of rungs
    assert climb(runner, auto, trained, tmp_path) == said
    assert kept() == before


def test_neither_other_budgets_nor_its_stages_in_a_config_make_a_rung_again(climbed):
    entries = climbed.folder / "store" / "v1" / "entries"
    before = set(entries.iterdir())
    climbed.run("--set", "stages.small.max_drop=0.6", "--set", "name=other")
    assert len(set(entries.iterdir()) - before) == 2  # of auto and verify

    ladder = next(step.ladder for step in climbed.report.steps if step.ladder)
    stages = [dict(stage) for stage in ladder.rungs[-1].stages]
    stages[0]["from"], stages[-1]["name"] = "train", "small"
    head, tail = CONFIG.split("  - stage: auto")
    written = "".join(f"  - {json.dumps(stage)}\n" for stage in stages)
    (climbed.folder / "written.yaml").write_text(head + written + tail[tail.index("  - {stage: verify") :])
    (as_stages := climbed.command(verb="plan"))[4] = "written.yaml"
    told = subprocess.run(as_stages, cwd=climbed.folder, capture_output=True, text=True, check=True).stdout
    assert told.count(" miss ") == 1  # verify, which reads another stage
    assert told.count(" hit ") == len(stages) + 3


def test_too_few_examples_are_told_before_anything_is_made(tmp_path):
    inputs = Inputs(DATA, MODEL, 3, {}, tmp_path, lambda progress: None, None)
    with pytest.raises(StageError, match=r"0\.30 points can't be told with 95 %.*\n.*needs about 1,167"):
        Climb(Auto(stage="auto", max_drop=0.003, rungs=["ptq"]), inputs)
    with pytest.raises(StageError, match=r"told with 99\.5 %.*\n.*needs about 1,[3-9]\d\d.*name fewer rungs"):
        Climb(Auto(stage="auto", max_drop=0.003), inputs)


def test_many_rungs_pass_by_luck_no_oftener_than_one():
    """Of rungs that are all worse than the limit, by chance one looks better; the correction keeps that rare."""
    names = USUAL
    auto, n, limit = Auto(stage="auto", max_drop=0.02, confidence=0.9, rungs=names), 1000, 0.02
    lost = np.random.default_rng(0).binomial(n, limit * 1.0001, (400, len(names)))

    def lucky(confidence):
        highs = {int(k): statistics.interval(n, int(k), 0, confidence)[1] for k in np.unique(lost)}
        return np.mean([any(highs[int(k)] <= limit for k in row) for row in lost])

    assert lucky(auto.confidence) > (1 - auto.confidence)  # each by itself
    assert lucky(auto.each) <= (1 - auto.confidence) / 2 * 1.25  # one side of the interval, and what chance adds
    assert auto.each == pytest.approx(0.99)
    assert Auto(stage="auto", max_drop=0.02, rungs=["ptq"]).each == 0.95


@pytest.mark.parametrize(("normalised", "kinds"), [(True, ["qat", "recalibrate"]), (False, ["qat"])])
def test_a_rung_of_4_bits_recalibrates_what_is_there(normalised, kinds):
    auto = Auto(stage="auto", max_bytes=9, rungs=["qat4"], keep_8=["conv1"])
    *before, file = RUNGS["qat4"].stages(auto, Network(0, normalised))
    assert [stage.kind for stage in before] == kinds
    assert (before[0].weight_bits, before[0].keep_8, file.quantization) == (4, ("conv1",), "int8")


def test_only_a_rung_that_makes_the_file_smaller_is_tried_where_plain_quantization_is_far_too_large():
    assert {name for name, rung in RUNGS.items() if "size" in rung.shrinks} == {"channel_qat", "qat4", "distilled_qat4"}
    assert {name for name, rung in RUNGS.items() if "macs" in rung.shrinks} == {"channel_qat"}


@pytest.mark.parametrize(("settings", "message"), [
    ({}, "needs at least one budget: max_drop, max_bytes"),
    ({"max_drop": -0.01}, "greater than or equal to 0"),
    ({"max_bytes": 0}, "greater than 0"),
    ({"max_macs": 0}, "greater than 0"),
    ({"max_latency_ratio": 0.0}, "greater than 0"),
    ({"max_drop": 0.01, "confidence": 0.3}, "greater than 0.5"),
    ({"max_drop": 0.01, "rungs": []}, "at least 1 item"),
    ({"max_drop": 0.01, "rungs": ["ptq", "ptq"]}, "must name each rung once"),
    ({"max_drop": 0.01, "rungs": ["ptg"]}, "Input should be 'ptq'"),
    ({"max_drop": 0.01, "rungs": ["ptq"], "teacher": "large"}, "needs the rung distilled_qat or distilled_qat4"),
    ({"max_drop": 0.01, "calibration": {"ranges": "mse"}}, "is what the rungs are for"),
    ({"max_drop": 0.01, "keep_8": ["conv1"]}, "keep_8: needs the rung qat4"),
    ({"max_drop": 0.01, "precision": "mixed_float16"}, "must be float32 here"),
])  # fmt: skip
def test_settings_that_can_not_be_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        Auto(stage="auto", **settings)


def test_a_drop_that_validation_can_not_show_is_refused_in_the_plan(planned, tmp_path):
    x = np.random.default_rng(0).random((60, 8), np.float32)
    np.savez(tmp_path / "odd.npz", x_train=x[:40], x_test=x[40:], y_test=np.arange(20) % 2)
    text = """\
name: tiny
data: {source: npz, path: odd.npz, task: anomaly}
model: {source: autoencoder}
stages:
  - {stage: train, epochs: 1}
  - {stage: auto, max_drop: 0.01}
"""
    with pytest.raises(
        ConfigError, match=r"tiny.yaml:6:\d+: stages.auto.max_drop: can't be measured for anomaly detection"
    ):
        planned(text)


def test_what_a_target_gives_is_a_budget_too(planned):
    text = CONFIG.replace("seed: 5", "target: cortex-m4")
    auto = planned(text)["small"].stage
    assert (auto.max_bytes, auto.max_arena) == (1 << 20, 256 << 10)
    assert auto.aimed["max_bytes"] == "cortex-m4"
    assert planned(text.replace("max_drop: 0.5", "max_bytes: 1000"))["small"].stage.max_bytes == 1000


def paired(metric, drop, low, high):
    return Paired(metric=metric, n=100, drop=drop, low=low, high=high, confidence=0.9, worst=None)


@pytest.mark.parametrize(("found", "status", "what", "beyond"), [
    (paired("accuracy", 0.01, -0.01, 0.02), "pass", "drop of accuracy", 0),
    (paired("accuracy", 0.01, -0.01, 0.06), "unavailable", "drop of accuracy", 1),
    (paired("accuracy", 0.05, 0.04, 0.06), "fail", "drop of accuracy", 1),
    (paired("mae", -0.02, -0.029, 0.01), "pass", "rise of mae", 0),
    (paired("mae", -0.02, -0.12, 0.01), "unavailable", "rise of mae", 3),
])  # fmt: skip
def test_the_whole_interval_decides_whether_it_is_worse(found, status, what, beyond):
    result = within("drop", "small", found, 0.03)
    assert (result.status, result.what) == (status, what)
    assert excess(result, found) == pytest.approx(beyond)
