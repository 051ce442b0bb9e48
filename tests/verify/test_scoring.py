"""Metrics against scikit-learn, scipy and figures worked out by hand."""

import subprocess
import sys
from math import log

import numpy as np
import pytest
from scipy import special
from sklearn import metrics as sklearn

from pipeline.core.errors import InputError
from pipeline.data.tasks.task import TASKS
from pipeline.verify.scoring import anomaly, classification, metrics, regression
from pipeline.verify.scoring.scoring import SCORING
from tests.support.task_data import BOTH, ODD, X, Y

CHANCES = ("auc_macro", "log_loss", "ece")


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def sample(rng, n=400, classes=7):
    """Logits (n, classes) that are right three times in four, and labels (n,) that hold every class."""
    y = np.arange(n) % classes
    scores = rng.normal(size=(n, classes)).astype(np.float32)
    scores[np.arange(n), y] += 2
    return scores, y


def int8(p):
    """Probabilities as an int8 softmax gives them: steps of 1/256, rounded."""
    return np.clip(np.round(p * 256), 0, 255).astype(np.float32) / 256


def test_a_classifier_is_measured_as_scikit_learn_does(rng):
    scores, y = sample(rng)
    found = classification.classification(scores, y)
    p, said = special.softmax(scores.astype(float), axis=1), scores.argmax(axis=1)
    precision, recall, f1, support = sklearn.precision_recall_fscore_support(y, said)
    expected = {
        "accuracy": sklearn.accuracy_score(y, said),
        "top5_accuracy": sklearn.top_k_accuracy_score(y, scores, k=5),
        "balanced_accuracy": sklearn.balanced_accuracy_score(y, said),
        "precision_macro": precision.mean(),
        "recall_macro": recall.mean(),
        "f1_macro": f1.mean(),
        "worst_recall": recall.min(),
        "auc_macro": sklearn.roc_auc_score(y, p, multi_class="ovr"),
        "log_loss": sklearn.log_loss(y, p),
    }
    assert {name: found.metrics[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert list(found.metrics) == [*expected, "ece"]
    assert found.missing == {}
    assert found.scores == "logits"
    assert [(c.precision, c.recall, c.f1, c.support) for c in found.per_class] == [
        *zip(precision, recall, f1, support, strict=True)
    ]
    assert np.array_equal(found.confusion, sklearn.confusion_matrix(y, said))


def test_two_classes_have_one_area(rng):
    scores, y = sample(rng, classes=2)
    p = special.softmax(scores.astype(float), axis=1)
    assert classification.classification(scores, y).metrics["auc_macro"] == pytest.approx(
        sklearn.roc_auc_score(y, p[:, 1])
    )


@pytest.fixture
def by_hand():
    """Of four examples, of which a dog is taken for a cat."""
    p = np.array([[0.9, 0.1, 0.0], [0.6, 0.4, 0.0], [0.2, 0.8, 0.0], [0.3, 0.2, 0.5]])
    return classification.classification(p, np.array([0, 1, 1, 2]), ["cat", "dog", "eel"])


def test_classes_by_hand(by_hand):
    cat, dog, eel = by_hand.per_class
    assert (cat.label, cat.precision, cat.recall, cat.f1, cat.support) == ("cat", 0.5, 1.0, pytest.approx(2 / 3), 1)
    assert (dog.label, dog.precision, dog.recall, dog.f1, dog.support) == ("dog", 1.0, 0.5, pytest.approx(2 / 3), 2)
    assert (eel.label, eel.precision, eel.recall, eel.f1, eel.support) == ("eel", 1.0, 1.0, 1.0, 1)
    assert by_hand.confusion == ((1, 0, 0), (1, 1, 0), (0, 0, 1))


def test_metrics_by_hand(by_hand):
    found = by_hand.metrics
    assert found["accuracy"] == 0.75
    assert found["balanced_accuracy"] == found["recall_macro"] == pytest.approx(2.5 / 3)
    assert found["worst_recall"] == 0.5
    assert found["log_loss"] == pytest.approx(-(log(0.9) + log(0.4) + log(0.8) + log(0.5)) / 4)
    assert found["ece"] == pytest.approx((0.1 + 0.6 + 0.2 + 0.5) / 4)  # each in a bin of its own
    assert "top5_accuracy" not in found


def test_a_perfect_model():
    found = classification.classification(np.eye(6, dtype=np.float32), np.arange(6))
    shares = {name: value for name, value in found.metrics.items() if name not in ("log_loss", "ece")}
    assert set(shares.values()) == {1.0}
    assert found.metrics["log_loss"] == found.metrics["ece"] == 0


def test_a_split_of_one_class_has_no_auc(rng):
    scores, y = sample(rng)
    found = classification.classification(scores, np.full_like(y, 3), ["a", "b"])
    assert found.missing == {"auc_macro": "the split has no example of a and of 5 other classes"}
    assert found.metrics["recall_macro"] == found.metrics["balanced_accuracy"] == found.metrics["accuracy"]
    absent = found.per_class[0]
    assert (absent.recall, absent.support) == (None, 0)


def test_a_class_that_is_never_predicted_counts_nothing():
    scores = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    found = classification.classification(scores, np.array([0, 0, 0, 1]))
    never = found.per_class[1]
    assert (never.precision, never.recall, never.f1) == (None, 0.0, 0.0)
    assert found.metrics["precision_macro"] == pytest.approx(0.75 / 2)


def test_equal_scores_rank_as_argmax_decides(rng):
    scores, y = rng.integers(0, 3, (300, 8)).astype(np.float32), rng.integers(0, 8, 300)
    assert np.array_equal(classification.rank(scores, y) == 0, scores.argmax(axis=1) == y)
    assert classification.rank(np.zeros((3, 8)), np.array([0, 4, 7])).tolist() == [0, 4, 7]
    assert sorted(classification.rank(np.tile(scores[:1], (8, 1)), np.arange(8)).tolist()) == list(range(8))


@pytest.mark.parametrize(
    ("scores", "kind", "row"),
    [
        ([0.5, 0.25], "probabilities", [2 / 3, 1 / 3]),  # int8 rounding moved the sum
        ([0.0, 0.0], "probabilities", [0.5, 0.5]),
        ([1 + 1e-7, 0.0], "probabilities", [1.0, 0.0]),
        ([0.0, log(3)], "logits", [0.25, 0.75]),
        ([-1000.0, 1000.0], "logits", [0.0, 1.0]),
    ],
)
def test_scores_become_probabilities(scores, kind, row):
    given = np.array([scores])
    assert classification.kind(given) == kind
    assert classification.probabilities(given)[0] == pytest.approx(row, abs=1e-6)
    assert given.tolist() == [scores]


def test_quantized_probabilities_keep_their_decisions_and_nearly_their_figures(rng):
    scores, y = sample(rng)
    whole = special.softmax(scores, axis=1)
    exact, coarse = (
        classification.classification(p, y, step=step) for p, step in ((whole, None), (int8(whole), 1 / 256))
    )
    assert exact.scores == coarse.scores == "probabilities"
    for name in CHANCES:
        assert coarse.metrics[name] == pytest.approx(exact.metrics[name], abs=0.01)


@pytest.mark.parametrize(("step", "loss"), [(1 / 256, log(512)), (None, -log(np.finfo(np.float32).eps))])
def test_a_zero_costs_what_the_output_can_not_tell_from_it(step, loss):
    assert classification.log_loss(np.array([[0.0, 1.0]]), np.array([0]), step) == pytest.approx(loss)


def test_calibration_error_is_the_distance_of_confidence_from_accuracy():
    p = np.full((10, 2), [0.8, 0.2])
    y = np.array([0] * 6 + [1] * 4)  # 0.8 sure, 0.6 right
    assert classification.calibration_error(p, y) == pytest.approx(0.2)
    both = np.vstack([p, np.full((10, 2), [0.45, 0.55])])  # 0.55 sure, 1.0 right, in another bin
    assert classification.calibration_error(both, np.append(y, np.ones(10, int))) == pytest.approx((0.2 + 0.45) / 2)


def test_a_confidence_on_the_edge_falls_into_the_lower_bin():
    p = np.array([[0.6, 0.4], [0.61, 0.39]])  # 0.6 = 9/15
    assert classification.calibration_error(p, np.array([1, 0])) == pytest.approx((0.6 + 0.39) / 2)


def test_outputs_that_are_no_numbers_are_told(rng):
    scores, y = sample(rng)
    scores[3, 1] = np.nan
    scores[9, 0] = np.inf
    found = classification.classification(scores, y)
    assert found.missing == dict.fromkeys(CHANCES, "the model gives NaN or infinity for 2 of 400 examples")
    assert "accuracy" in found.metrics


def test_regression_is_measured_as_by_hand():
    found = regression.regression(np.array([1.0, 2.0, 5.0]), np.array([1.0, 4.0, 4.0]))
    assert found.metrics == pytest.approx({"mae": 1.0, "rmse": (5 / 3) ** 0.5, "r2": 1 - 5 / 6})
    assert found.missing == {}


@pytest.mark.parametrize("y", [np.array([2.0]), np.array([2.0, 2.0])])
def test_values_that_never_change_have_no_r2(y):
    found = regression.regression(np.zeros_like(y), y)
    assert found.metrics == {"mae": 2.0, "rmse": 2.0}
    assert found.missing == {"r2": "the true values are all the same"}


def test_anomaly_scores_are_measured_as_by_hand():
    scores, y = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), np.array([0, 0, 1, 0, 1, 1])
    found = anomaly.anomaly(scores, y, max_fpr=1 / 3)
    least, most = (1 / 3) ** 2 / 2, 1 / 3  # of guessing and of perfection
    area = 2 / 3 * 1 / 3  # two of three anomalies stand before any false alarm
    assert found.metrics["auc"] == pytest.approx(8 / 9)
    assert found.metrics["pauc"] == pytest.approx((1 + (area - least) / (most - least)) / 2)


def test_anomaly_scores_need_both_kinds():
    for label, name in ((1, "normal"), (0, "anomalous")):
        found = anomaly.anomaly(np.array([0.1, 0.2]), np.full(2, label))
        assert found == ({}, dict.fromkeys(("auc", "pauc"), f"the split has no {name} example"))
    broken = anomaly.anomaly(np.array([0.1, np.inf]), np.array([0, 1]))
    assert broken.missing["auc"] == "the model gives NaN or infinity for 1 of 2 examples"


@pytest.mark.parametrize("measure", [classification.classification, regression.regression, anomaly.anomaly])
@pytest.mark.parametrize("labels", [0, 1])
def test_nothing_to_measure_is_an_error(measure, labels):
    with pytest.raises(InputError, match="at least one example"):
        measure(np.zeros((0, 2)), np.zeros(labels, np.int64))


def test_nothing_heavy_is_imported_before_it_is_needed():
    code = (
        "import sys; from pipeline.verify.scoring import classification, statistics; import numpy as np;"
        "r = np.arange(9) < 5; statistics.paired(r, ~r, np.arange(9));"
        "sys.exit(bool({'sklearn', 'scipy', 'tensorflow'} & {*sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_metric_is_of_one_task_and_the_main_one_is_among_them():
    assert sorted(name for task in TASKS for name in metrics.of(task)) == sorted(metrics.METRICS)
    assert all(TASKS[task].main in metrics.of(task) for task in TASKS)
    assert list(SCORING) == list(TASKS)


def test_regression_is_judged_by_its_absolute_errors(rng):
    scoring, y = SCORING["regression"], Y
    rows = y + rng.normal(size=y.shape) / 10
    found = scoring.facts(rows, X, y, (), None)["metrics"]
    assert found["mae"] == pytest.approx(sklearn.mean_absolute_error(y, rows))
    verdicts = scoring.verdicts(rows, X, y)
    assert scoring.main(verdicts, y) == pytest.approx(found["mae"])


def test_regression_is_compared_by_its_absolute_errors():
    scoring, y = SCORING["regression"], Y
    verdicts = scoring.verdicts(y + 0.25, X, y)
    compared = scoring.paired(verdicts, verdicts + 0.5, y, ())
    assert (compared.metric, compared.n, compared.lost, compared.mcnemar_p) == ("mae", 60, None, None)
    assert compared.drop == compared.low == compared.high == pytest.approx(-0.5)


def test_an_anomaly_is_what_comes_back_badly(rng):
    scoring, y = SCORING["anomaly"], ODD.astype(int)
    rows = np.repeat((BOTH[:, ::2] + BOTH[:, 1::2]) / 2, 2, axis=1)  # knows that values come in pairs
    found = scoring.facts(rows, BOTH, y, (), None)["metrics"]
    assert found["auc"] == 1.0
    noisy = rows + rng.normal(size=rows.shape)
    scores = ((noisy.astype(float) - BOTH) ** 2).mean(axis=1)
    verdicts = scoring.verdicts(noisy, BOTH, y)
    assert scoring.main(verdicts, y) == pytest.approx(sklearn.roc_auc_score(y, scores))
    compared = scoring.paired(scoring.verdicts(rows, BOTH, y), verdicts, y, ())
    assert compared.drop == pytest.approx(1 - sklearn.roc_auc_score(y, scores))
    assert compared.low < compared.drop < compared.high
    assert scoring.main(scoring.verdicts(noisy[:20], BOTH[:20], y[:20]), y[:20]) is None


def test_shares_of_the_auc_have_its_variance_as_resampling_shows(rng):
    y = np.arange(300) % 3 == 0
    scores = rng.normal(size=300).round(1) + y  # some are equal
    shares = anomaly.auc_shares(scores, y.astype(int))
    assert shares.mean() == pytest.approx(sklearn.roc_auc_score(y, scores))
    draws = (rng.integers(0, 300, 300) for _ in range(400))
    spread = np.std([sklearn.roc_auc_score(y[draw], scores[draw]) for draw in draws])
    assert shares.std() / np.sqrt(300) == pytest.approx(spread, rel=0.15)
