"""Runs of every task, from the config to the report."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from tests.support.task_data import ANOMALY, X, Y, keras_files

RUN = """\
name: tiny
data: {{source: npz, path: data.npz, task: {task}}}
model: {model}
stages:
  - {{stage: train, epochs: 20, batch_size: 4, learning_rate: 0.02}}
  - {{stage: convert, name: float, quantization: float32}}
  - {{stage: convert, name: small, from: train, quantization: int8, calibration: {calibration}}}
  - {{stage: verify, of: [small], baseline: float, checks: {checks}}}
"""


class Run(NamedTuple):
    """A finished run: its folder, its report, and the folder's arrays as a source for `verify --data`."""

    folder: Path
    report: dict[str, Any]
    data: Path

    @property
    def small(self):
        return self.report["models"][1]


@pytest.fixture(scope="module")
def run(pipeline):
    """Runs RUN with its gaps filled, over arrays."""

    def start(arrays, **parts):
        made = pipeline(RUN.format(**{"calibration": "{}"} | parts))
        np.savez(made.folder / "data.npz", **arrays)
        (made.folder / "data.yaml").write_text(f"data: {{source: npz, path: data.npz, task: {parts['task']}}}")
        report, _ = made.run("--json")
        return Run(made.folder / "runs" / "tiny", json.loads(report), made.folder / "data.yaml")

    return start


# Regression


@pytest.fixture(scope="module")
def regression(run):
    checks = "[{check: metric, metric: mae, max: 0.5, max_drop: 0.2}, {check: metric, metric: r2, min: 0.5}]"
    parts = {"task": "regression", "model": "{source: mlp, units: [8]}", "calibration": "{halves: true}"}
    return run({"x_train": X, "y_train": Y}, checks=checks, **parts)


def test_a_regression_is_measured_by_its_errors(regression):
    small = regression.small
    assert regression.report["data"]["task"] == small["task"] == "regression"
    assert list(small["metrics"]) == ["mae", "rmse", "r2"]
    assert small["runtimes"][0]["score"] == pytest.approx(small["metrics"]["mae"])


def test_a_regression_is_compared_with_its_baseline(regression):
    base, small = regression.report["models"]
    assert small["drop"]["mae"] == base["metrics"]["mae"] - small["metrics"]["mae"]
    assert small["paired"]["drop"] == pytest.approx(small["drop"]["mae"])
    assert small["paired"]["low"] <= small["paired"]["drop"] <= small["paired"]["high"]


def test_a_regression_has_no_figures_of_decisions(regression):
    small = regression.small
    assert [small["paired"][name] for name in ("lost", "gained", "mcnemar_p", "worst")] == [None] * 4
    assert [small["confusion"], small["per_class"], small["scores"], small["error"]["agreement"]] == [
        [],
        [],
        None,
        None,
    ]
    assert all(row["accuracy"] is None and row["flips"] is None for row in small["runtimes"])


def test_the_halves_of_calibration_of_a_regression_differ_in_ranges_alone(regression):
    notes = [note for step in regression.report["steps"] for note in step["notes"]]
    (note,) = (each for each in notes if "ranges differ" in each)
    assert "decisions" not in note


@pytest.mark.parametrize("page", ["report.md", "report.html"])
def test_the_pages_of_a_regression_speak_of_its_metrics(regression, page):
    text = (regression.folder / page).read_text()
    assert "MAE" in text
    assert "ccuracy" not in text
    assert "flipped" not in text


def test_two_runs_of_a_regression_are_compared_by_its_metric(regression, edgepipe):
    code, out, _ = edgepipe("compare", regression.folder, regression.folder, "--fail-on", "drop=0", "--json")
    (found, *_) = json.loads(out)["models"]
    assert (code, found["metric"], found["flips"]) == (0, "mae", None)
    _, out, _ = edgepipe("compare", regression.folder, regression.folder)
    assert "mae" in out
    assert "accuracy" not in out


# Anomaly detection


@pytest.fixture(scope="module")
def anomaly(run):
    checks = "[{check: metric, metric: auc, min: 0.7, max_drop: 0.1}]"
    return run(ANOMALY, task="anomaly", model="{source: autoencoder, units: 16, code: 2, depth: 1}", checks=checks)


def test_anomaly_detection_is_measured_by_its_areas(anomaly):
    small = anomaly.small
    assert list(small["metrics"]) == ["auc", "pauc"]
    assert small["paired"]["drop"] == pytest.approx(small["drop"]["auc"])
    assert small["runtimes"][0]["score"] == pytest.approx(small["metrics"]["auc"])


def test_a_foreign_file_of_anomaly_detection_has_the_same_figures(anomaly, edgepipe):
    arguments = ("--data", anomaly.data, "--baseline", anomaly.folder / "float.tflite", "--json")
    code, out, _ = edgepipe("verify", anomaly.folder / "small.tflite", *arguments)
    foreign = json.loads(out)["models"][1]
    assert code == 0
    for name in ("metrics", "drop", "paired"):
        assert foreign[name] == anomaly.small[name]


def test_checks_of_another_task_are_refused_for_a_foreign_file(anomaly, edgepipe, written):
    checks = written("checks: [{check: accuracy, min: 0.5}]", "checks.yaml")
    code, _, err = edgepipe("verify", anomaly.folder / "small.tflite", "--data", anomaly.data, "--checks", checks)
    assert code == 2
    assert "accuracy is for classifiers (received data for anomaly)" in err


def test_data_of_another_task_than_the_files_is_refused(anomaly, edgepipe, tmp_path):
    np.savez(tmp_path / "data.npz", x_train=X, y_train=np.arange(60) % 5)
    (tmp_path / "data.yaml").write_text("data: {source: npz, path: data.npz, task: classification}")
    code, _, err = edgepipe("verify", anomaly.folder / "small.tflite", "--data", tmp_path / "data.yaml")
    assert code == 3
    assert "the file was made for anomaly (received data for classification)" in err


# One output for two labels


def test_one_sigmoid_decides_between_two_labels_down_to_int8(run, in_child, tmp_path):
    in_child(keras_files, tmp_path)
    checks = "[{check: accuracy, min: 0.75}, {check: agreement, min: 0.75}, {check: integer_only}]"
    model = f"{{source: file, path: {tmp_path / 'sigmoid.h5'}}}"
    arrays = {"x_train": X, "y_train": (X[:, 0] > 0).astype(int)}
    found = run(arrays, task="classification", model=model, checks=checks)
    small = found.small
    assert small["scores"] == "probabilities"
    assert [small["output"][name] for name in ("shape", "scale", "zero_point")] == [[1, 1], 1 / 256, -128]
    assert sum(map(sum, small["confusion"])) == 12
    assert small["metrics"]["accuracy"] == np.trace(small["confusion"]) / 12
    assert set(found.report["steps"][0]["curves"]) >= {"accuracy", "val_accuracy"}
