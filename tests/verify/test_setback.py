"""What a file loses against its model: the share of each task, how many examples are tried, and what is told."""

import numpy as np
import pytest

from pipeline import tflite
from pipeline.data.sources.digits import Digits
from pipeline.verify import setback
from pipeline.verify.interpreters import litert
from pipeline.verify.model_facts import TensorError
from pipeline.verify.scoring.scoring import SCORING
from pipeline.verify.setback import Setback

RANDOM = np.random.default_rng(0)
Y = RANDOM.normal(size=(200, 2))
X = RANDOM.normal(size=(200, 8)).astype(np.float32)


@pytest.mark.parametrize("task", ["regression", "anomaly"])
def test_a_perfect_answer_is_1_and_a_constant_one_is_0(task):
    scoring, normal = SCORING[task], np.zeros(200, np.int64)
    truth, right = (Y, Y) if task == "regression" else (normal, X)
    constant = np.median(Y, axis=0) if task == "regression" else X.astype(np.float64).mean(axis=0)
    assert scoring.fit(right, X, truth) == 1
    assert scoring.fit(np.broadcast_to(constant, right.shape), X, truth) == pytest.approx(0, abs=1e-6)
    assert scoring.fit(right + 0.1, X, truth) < 1


def test_a_classifier_s_share_is_its_accuracy():
    y = np.array([0, 1, 1, 0])
    rows = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
    assert SCORING["classification"].fit(rows, X[:4], y) == 0.75


def test_truth_that_is_all_the_same_has_no_share():
    assert SCORING["regression"].fit(Y, X, np.ones((200, 2))) is None
    assert SCORING["anomaly"].fit(X, np.ones_like(X), np.zeros(200, np.int64)) is None


def test_a_file_is_measured_against_the_model_s_outputs(models):
    model, spec = tflite.read(models["int8"]), Digits().spec()
    x = RANDOM.random((40, *model.inputs[0].shape[1:])).astype(np.float32)
    outputs = litert.run(model, x)
    y = spec.task.decisions(spec.task.rows(outputs, spec))
    assert setback.measure(models["int8"], x, y, outputs, spec).lost == 0
    assert setback.measure(models["int8"], x, y, np.roll(outputs, 1, axis=1), spec).lost == pytest.approx(-1)


def test_large_networks_are_tried_on_fewer_examples(models):
    model = tflite.read(models["int8"])
    assert setback.sample(model, 10_000) == setback.MOST
    assert setback.sample(model, 7) == 7


def error(index, decibel, layer="conv"):
    return TensorError.model_construct(index=index, op="CONV_2D", layer=layer, sqnr_db=decibel)


def test_the_layer_to_look_at_is_the_first_that_is_far_off_in_running_order():
    rows = (error(3, -4.0), error(1, 12.0, "first"), error(0, 45.0))
    assert setback.first_far(rows).layer == "first"
    assert setback.first_far(rows[2:]).index == 0
    assert setback.first_far(()) is None


def test_what_is_told():
    found = Setback(299, 1.0, 0.234)
    assert setback.told(found, True, error(1, 12.04, "first")) == (
        "23.4 % of 299 validation examples are right, and 100.0 % by the Keras model: 76.60 points less; look first at "
        "layer 'first' (CONV_2D), where 12.0 dB are left"
    )
    assert setback.told(found, False, None) == (
        "on 299 validation examples the error is 76.6 % of what a constant answer is off by, and 0.0 % by the Keras "
        "model: 76.60 points more"
    )
