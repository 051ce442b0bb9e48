"""Regression, anomaly detection and one-output classifiers, from the data to the report."""

import json

import numpy as np
import pytest
from conftest import HEAD
from sklearn.metrics import mean_absolute_error, roc_auc_score
from test_training import Runner, content, facts

from pipeline.core import processes
from pipeline.core.errors import ConfigError, InputError
from pipeline.data.source import SPLITS
from pipeline.data.sources.diabetes import Diabetes
from pipeline.data.sources.digits import Digits
from pipeline.data.sources.npz import Npz
from pipeline.data.spec import Spec
from pipeline.data.tasks.task import TASKS
from pipeline.keras.models.autoencoder import Autoencoder
from pipeline.keras.models.file import File
from pipeline.keras.models.mlp import Mlp
from pipeline.stages.qat import Qat
from pipeline.stages.train import Train
from pipeline.verify.scoring import anomaly, metrics
from pipeline.verify.scoring.scoring import SCORING

RANDOM = np.random.default_rng(3)
X = RANDOM.normal(size=(60, 4)).astype(np.float32)
Y = X[:, :2] @ np.array([[1.0, 0.5], [-0.5, 1.0]])  # two numbers to find
NORMAL = np.stack([X[:, 0], X[:, 0], X[:, 1], X[:, 1]], axis=1)  # pairs of equal values; anything else is none
BOTH = np.concatenate([NORMAL[40:], 4 * X[40:]])
ODD = np.arange(40) >= 20
ANOMALY = {"x_train": NORMAL[:40], "x_test": BOTH, "y_test": ODD}


def source(folder, task, settings=None, **arrays):
    np.savez(folder / "data.npz", **arrays)
    return Npz(source="npz", path=folder / "data.npz", task=task, **(settings or {}))


def everything(split):
    return split.batch(np.arange(len(split)))


# The data


def test_regression_keeps_the_numbers_as_they_are(tmp_path):
    data = source(tmp_path, "regression", x_train=X, y_train=Y)
    assert data.spec() == Spec((4,), ("y0", "y1"), TASKS["regression"])
    assert data.spec().outputs == (2,)
    known = {x.tobytes(): y for x, y in zip(X, Y, strict=True)}
    parts = [everything(data.split(name)) for name in SPLITS]
    assert [len(x) for x, _ in parts] == [36, 6, 6, 12]
    assert all(np.array_equal(known[row.tobytes()], value) for x, y in parts for row, value in zip(x, y, strict=True))
    one = source(tmp_path, "regression", {"labels": ("degrees",)}, x_train=X, y_train=np.arange(60))
    assert one.spec().labels == ("degrees",)
    assert everything(one.split("test"))[1].shape == (12, 1)


def test_equal_examples_of_a_regression_stay_together(tmp_path):
    data = source(tmp_path, "regression", x_train=np.tile(X[:20], (3, 1)), y_train=np.arange(60))
    contents = [{row.tobytes() for row in everything(data.split(name))[0]} for name in SPLITS]
    assert sum(map(len, contents)) == len(set.union(*contents)) == 20


def test_what_is_trained_on_is_normal_by_itself(tmp_path):
    data = source(tmp_path, "anomaly", **ANOMALY)
    assert data.spec() == Spec((4,), (), TASKS["anomaly"])
    assert data.spec().outputs == (4,)
    for name in SPLITS[:3]:
        assert not everything(data.split(name))[1].any()
    assert np.array_equal(everything(data.split("test"))[1], ODD)


def test_the_sources_without_a_download():
    diabetes, digits = Diabetes(source="diabetes"), Digits(normal=5)
    assert (diabetes.spec().shape, diabetes.spec().outputs, diabetes.spec().task.name) == ((10,), (1,), "regression")
    assert sum(len(diabetes.split(name)) for name in SPLITS) == 442
    assert (digits.spec().shape, digits.spec().task.name) == ((64,), "anomaly")
    x, odd = everything(digits.split("test"))
    assert len(x) == odd.sum() + 36
    assert sum(len(digits.split(name)) for name in SPLITS) == 1797
    assert digits.fingerprint() == Digits().fingerprint()
    assert digits.identity() != Digits().identity()


NAN = np.where(np.arange(60) == 7, np.nan, Y[:, 0])


@pytest.mark.parametrize(
    ("task", "settings", "arrays", "rule"),
    [
        ("regression", {}, {"x_train": X}, "must hold y_train (received x_train)"),
        ("regression", {}, {"x_train": X, "y_train": NAN}, "train: values must be finite in float32"),
        ("regression", {}, {"x_train": X, "y_train": Y.astype(str)}, "must be an array (N,) or (N, M) of numbers"),
        ("regression", {}, {"x_train": X, "y_train": Y[:, None]}, "of numbers (received float64 (60, 1, 2))"),
        ("regression", {}, {"x_train": X, "y_train": Y[1:]}, "equally many (received 60 examples, 59 labels)"),
        ("regression", {"labels": ("a",)}, {"x_train": X, "y_train": Y}, "1 values an example, for 1 labels (received"),
        ("regression", {}, {"x_train": X, "y_train": Y, "x_test": X, "y_test": Y[:, 0]}, "test: values must be (N, 2)"),
        ("anomaly", {}, {"x_train": X}, "anomaly detection needs a test split of its own (received no test split)"),
        ("anomaly", {}, ANOMALY | {"y_train": np.arange(40) > 37}, "train: must hold normal examples alone"),
        ("anomaly", {}, ANOMALY | {"x_validation": X, "y_validation": np.ones(60, int)}, "(received 60 of 60 anom"),
        ("anomaly", {}, ANOMALY | {"y_test": np.zeros(40, int)}, "must hold normal and anomalous examples (received"),
        ("anomaly", {}, ANOMALY | {"y_test": ODD * 2}, "labels must be 0 (normal) or 1 (anomalous) (received 2 at pos"),
        ("anomaly", {}, ANOMALY | {"y_test": ODD / 2}, "of 0 (normal) and 1 (anomalous) (received float64 (40,))"),
        ("anomaly", {}, {"x_train": X, "x_test": X}, "must hold y_test"),
    ],
)
def test_truth_that_does_not_fit_the_task_is_told(tmp_path, task, settings, arrays, rule):
    with pytest.raises(InputError) as caught:
        source(tmp_path, task, settings, **arrays).spec()
    (fault,) = caught.value.faults
    assert rule in str(fault)
    assert fault.where.startswith(str(tmp_path))


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        ("{source: digits, ^labels: [one]}", "data.labels: must name 2 or more for classification"),
        ("{source: npz, path: x, task: anomaly, ^labels: [a, b]}", "there is nothing to name for anomaly"),
        ("{source: npz, path: x, ^task: regresion}", "did you mean 'regression'"),
    ],
)
def test_settings_of_data_are_told_with_their_place(planned, data, rule):
    with pytest.raises(ConfigError) as caught:
        planned(HEAD.replace("{source: digits}", data.replace("^", "")) + "  - {stage: train, epochs: 1}\n")
    assert f"tiny.yaml:2:{7 + data.index('^')}:" in str(caught.value)
    assert rule in str(caught.value)


# The plan


def test_what_is_for_classifiers_is_refused_before_anything_runs(planned):
    text = """\
name: tiny
data: {source: diabetes}
model: {source: autoencoder}
stages:
  - {stage: train, epochs: 1, label_smoothing: 0.1, class_weights: balanced, early_stopping: {monitor: val_accuracy}}
  - {stage: convert, quantization: int8}
  - stage: verify
    of: [convert]
    baseline: convert
    checks:
      - {check: accuracy, min: 0.5}
      - {check: agreement, min: 0.5}
      - {check: flips, max_lost: 0.5}
      - {check: metric, metric: auc, min: 0.5}
      - {check: metric, metric: mae, max: 50, max_drop: 1}
"""
    with pytest.raises(ConfigError) as caught:
        planned(text)
    rows = [str(fault).partition("tiny.yaml:")[2] for fault in caught.value.faults]
    lines, stages = text.splitlines(), "stages.verify.checks"
    expected = [
        (3, "source", "model.source: autoencoder is for anomaly (received data for regression)"),
        (5, "label_smoothing", "stages.train.label_smoothing: is for classifiers (received 0.1 for regression)"),
        (5, "class_weights", "stages.train.class_weights: is for classifiers (received balanced for regression)"),
        (5, "monitor", "stages.train.early_stopping.monitor: must be val_loss or val_mae for regression (received"),
        (11, "check", f"{stages}.accuracy.check: accuracy is for classifiers (received data for regression)"),
        (12, "check", f"{stages}.agreement.check: agreement is for classifiers"),
        (13, "check", f"{stages}.flips.check: flips is for classifiers"),
        (14, "metric", f"{stages}.metric.metric: is not a metric of regression (received auc)"),
    ]
    for row, (line, setting, rule) in zip(rows, expected, strict=True):
        assert row.startswith(f"{line}:{lines[line - 1].index(f'{setting}:') + 1}: {rule}")
    assert "use {check: metric, metric: mae}" in rows[4]


def test_every_metric_is_of_one_task_and_the_main_one_is_among_them():
    assert sorted(name for task in TASKS for name in metrics.of(task)) == sorted(metrics.METRICS)
    assert all(TASKS[task].main in metrics.of(task) for task in TASKS)
    assert list(SCORING) == list(TASKS)


# The metrics


def test_regression_is_judged_by_its_absolute_errors():
    scoring, y = SCORING["regression"], Y
    rows = y + RANDOM.normal(size=y.shape) / 10
    found = scoring.facts(rows, X, y, (), None)["metrics"]
    assert found["mae"] == pytest.approx(mean_absolute_error(y, rows))
    verdicts = scoring.verdicts(rows, X, y)
    assert scoring.main(verdicts, y) == pytest.approx(found["mae"])
    compared = scoring.paired(verdicts, verdicts + 0.5, y, ())
    assert (compared.metric, compared.n, compared.lost, compared.mcnemar_p) == ("mae", 60, None, None)
    assert compared.drop == compared.low == compared.high == pytest.approx(-0.5)


def test_an_anomaly_is_what_comes_back_badly():
    scoring, y = SCORING["anomaly"], ODD.astype(int)
    rows = np.repeat((BOTH[:, ::2] + BOTH[:, 1::2]) / 2, 2, axis=1)  # knows that values come in pairs
    found = scoring.facts(rows, BOTH, y, (), None)["metrics"]
    assert found["auc"] == 1.0
    noisy = rows + RANDOM.normal(size=rows.shape)
    scores = ((noisy.astype(float) - BOTH) ** 2).mean(axis=1)
    verdicts = scoring.verdicts(noisy, BOTH, y)
    assert scoring.main(verdicts, y) == pytest.approx(roc_auc_score(y, scores))
    compared = scoring.paired(scoring.verdicts(rows, BOTH, y), verdicts, y, ())
    assert compared.drop == pytest.approx(1 - roc_auc_score(y, scores))
    assert compared.low < compared.drop < compared.high
    assert scoring.main(scoring.verdicts(noisy[:20], BOTH[:20], y[:20]), y[:20]) is None


def test_shares_of_the_auc_have_its_variance_as_resampling_shows():
    y = np.arange(300) % 3 == 0
    scores = RANDOM.normal(size=300).round(1) + y  # some are equal
    shares = anomaly.auc_shares(scores, y.astype(int))
    assert shares.mean() == pytest.approx(roc_auc_score(y, scores))
    draws = (RANDOM.integers(0, 300, 300) for _ in range(400))
    spread = np.std([roc_auc_score(y[draw], scores[draw]) for draw in draws])
    assert shares.std() / np.sqrt(300) == pytest.approx(spread, rel=0.15)


def test_one_output_decides_for_the_second_label_from_one_half_on():
    task, spec = TASKS["classification"], Spec((4,), ("low", "high"))
    for kind in (np.float32, np.float64):
        p = np.array([[0.0], [0.498], [np.nextafter(kind(0.5), kind(0))], [0.5], [0.502], [1.0]], kind)
        rows = task.rows(p, spec)
        assert np.array_equal(rows[:, 1], p[:, 0])
        assert rows.sum(axis=1) == pytest.approx(1)
        assert task.decisions(rows).tolist() == [0, 0, 0, 1, 1, 1]
    with pytest.raises(InputError, match=r"must give a probability, 0 to 1 \(received 1.5\)"):
        task.rows(np.array([[0.5], [1.5]]), spec)


# Training


@pytest.fixture(scope="module")
def regression(tmp_path_factory):
    folder = tmp_path_factory.mktemp("regression")
    data = source(folder, "regression", x_train=X, y_train=Y)
    return Runner(folder, data, Mlp(source="mlp", units=(8,), dropout=0.2))


def test_regression_trains_on_the_squared_error_and_resumes_to_the_same_bytes(regression):
    stage = Train(stage="train", epochs=3, batch_size=8, learning_rate=0.01, early_stopping={"monitor": "val_mae"})
    trained = regression(stage)
    curves = facts(trained)["curves"]
    assert set(curves) == {"loss", "mae", "val_loss", "val_mae", "learning_rate"}
    assert curves["loss"][0] > curves["loss"][-1]
    assert content(regression(stage, interrupt_after=2)) == content(trained)
    aware = regression(Qat(stage="qat", epochs=1, batch_size=8), trained)
    assert facts(aware)["curves"]["mae"][0] < curves["mae"][0]


def test_anomaly_detection_trains_to_give_back_its_input(tmp_path):
    model = Autoencoder(source="autoencoder", units=8, code=2, depth=1)
    runner = Runner(tmp_path, source(tmp_path, "anomaly", **ANOMALY), model)
    curves = facts(runner(Train(stage="train", epochs=6, batch_size=4, learning_rate=0.03)))["curves"]
    assert set(curves) == {"loss", "val_loss", "learning_rate"}
    assert curves["loss"][-1] < curves["loss"][0]


def make_files(send, folder):
    from tf_keras import Model, layers

    inputs = layers.Input((4,))
    for name, units, activation in (("sigmoid", 1, "sigmoid"), ("linear", 1, None), ("four", 4, None)):
        features = layers.Dense(8, activation="relu")(inputs)
        Model(inputs, layers.Dense(units, activation=activation)(features)).save(folder / f"{name}.h5")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Folder of Keras files for examples (4,): one output with and without a sigmoid, and four."""
    folder = tmp_path_factory.mktemp("files")
    processes.call("make", folder / "log", lambda _: None, make_files, folder)
    return folder


def build(send, path, specs):
    model = File(source="file", path=path)
    for spec in specs:
        try:
            send(model.build(spec).output_shape)
        except InputError as error:
            send(str(error.faults[0].rule))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("sigmoid", [(None, 1), "gives outputs of shape (1,)", (None, 1), "gives outputs of shape (1,)"]),
        ("linear", ["must end in a sigmoid", "gives outputs of shape (1,)", (None, 1), "gives outputs of shape (1,)"]),
        ("four", ["gives outputs of shape (4,)", "gives outputs of shape (4,)", "gives outputs of shape", (None, 4)]),
    ],
)
def test_a_file_is_taken_for_what_its_outputs_are(files, name, found):
    kinds = (("classification", "ab"), ("classification", "abc"), ("regression", "a"), ("anomaly", ""))
    specs = [Spec((4,), tuple(labels), TASKS[task]) for task, labels in kinds]
    sent = []
    processes.call("build", files / "log", sent.append, build, files / f"{name}.h5", specs)
    for got, expected in zip(sent, found, strict=True):
        assert got.startswith(expected) if isinstance(expected, str) else got == expected


# From the config to the report

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


def report_of(edgepipe, written, arrays, **parts):
    path = written(RUN.format(**{"calibration": "{}"} | parts))
    np.savez(path.parent / "data.npz", **arrays)
    code, out, err = edgepipe("run", path, "--json")
    assert code == 0, out + err
    return json.loads(out), path.parent / "runs" / "tiny"


def test_a_regression_from_its_config_to_its_report(edgepipe, written, tmp_path):
    checks = "[{check: metric, metric: mae, max: 0.5, max_drop: 0.2}, {check: metric, metric: r2, min: 0.5}]"
    model = "{source: mlp, units: [8]}"
    arrays = {"x_train": X, "y_train": Y}
    parts = {"task": "regression", "model": model, "checks": checks, "calibration": "{halves: true}"}
    report, folder = report_of(edgepipe, written, arrays, **parts)
    base, small = report["models"]
    assert report["data"]["task"] == small["task"] == "regression"
    assert list(small["metrics"]) == ["mae", "rmse", "r2"]
    assert small["drop"]["mae"] == base["metrics"]["mae"] - small["metrics"]["mae"]
    assert small["paired"]["drop"] == pytest.approx(small["drop"]["mae"])
    assert small["paired"]["low"] <= small["paired"]["drop"] <= small["paired"]["high"]
    assert [small["paired"][name] for name in ("lost", "gained", "mcnemar_p", "worst")] == [None] * 4
    assert (small["confusion"], small["per_class"], small["scores"], small["error"]["agreement"]) == (
        [],
        [],
        None,
        None,
    )
    first = small["runtimes"][0]
    assert first["score"] == pytest.approx(small["metrics"]["mae"])
    assert all(row["accuracy"] is None and row["flips"] is None for row in small["runtimes"])
    (note,) = (note for step in report["steps"] for note in step["notes"])
    assert "ranges differ" in note
    assert "decisions" not in note
    for page in ("report.md", "report.html"):
        text = (folder / page).read_text()
        assert "MAE" in text
        assert "ccuracy" not in text
        assert "flipped" not in text
    code, out, _ = edgepipe("compare", folder, folder, "--fail-on", "drop=0", "--json")
    assert (code, json.loads(out)["models"][0]["metric"]) == (0, "mae")
    assert json.loads(out)["models"][0]["flips"] is None
    code, out, _ = edgepipe("compare", folder, folder)
    assert "mae" in out
    assert "accuracy" not in out


def test_anomaly_detection_from_its_config_to_its_report_and_as_a_foreign_file(edgepipe, written, tmp_path):
    checks = "[{check: metric, metric: auc, min: 0.7, max_drop: 0.1}]"
    model = "{source: autoencoder, units: 16, code: 2, depth: 1}"
    report, folder = report_of(edgepipe, written, ANOMALY, task="anomaly", model=model, checks=checks)
    small = report["models"][1]
    assert list(small["metrics"]) == ["auc", "pauc"]
    assert small["paired"]["drop"] == pytest.approx(small["drop"]["auc"])
    assert small["runtimes"][0]["score"] == pytest.approx(small["metrics"]["auc"])

    (tmp_path / "data.yaml").write_text("data: {source: npz, path: data.npz, task: anomaly}")
    arguments = ("--data", tmp_path / "data.yaml", "--baseline", folder / "float.tflite")
    code, out, _ = edgepipe("verify", folder / "small.tflite", *arguments, "--json")
    assert code == 0
    foreign = json.loads(out)["models"][1]
    assert [foreign[name] for name in ("metrics", "drop", "paired")] == [
        small[name] for name in ("metrics", "drop", "paired")
    ]
    (tmp_path / "checks.yaml").write_text("checks: [{check: accuracy, min: 0.5}]")
    code, _, err = edgepipe("verify", folder / "small.tflite", *arguments, "--checks", tmp_path / "checks.yaml")
    assert code == 2
    assert "accuracy is for classifiers (received data for anomaly)" in err
    np.savez(tmp_path / "data.npz", x_train=X, y_train=np.arange(60) % 5)
    code, _, err = edgepipe("verify", folder / "small.tflite", "--data", tmp_path / "data.npz")
    assert code == 3
    assert "the file was made for anomaly (received data for classification)" in err


def test_one_sigmoid_decides_between_two_labels_down_to_int8(edgepipe, written, files, tmp_path):
    y = (X[:, 0] > 0).astype(int)
    checks = "[{check: accuracy, min: 0.75}, {check: agreement, min: 0.75}, {check: integer_only}]"
    model = f"{{source: file, path: {files / 'sigmoid.h5'}}}"
    arrays = {"x_train": X, "y_train": y}
    report, _ = report_of(edgepipe, written, arrays, task="classification", model=model, checks=checks)
    small = report["models"][1]
    assert small["scores"] == "probabilities"
    assert (small["output"]["shape"], small["output"]["scale"], small["output"]["zero_point"]) == (
        [1, 1],
        1 / 256,
        -128,
    )
    assert sum(map(sum, small["confusion"])) == 12
    assert small["metrics"]["accuracy"] == np.trace(small["confusion"]) / 12
    assert set(report["steps"][0]["curves"]) >= {"accuracy", "val_accuracy"}
