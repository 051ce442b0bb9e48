"""Tasks: what the data of regression and anomaly detection must hold, and what outputs mean."""

import numpy as np
import pytest

from pipeline.core.errors import InputError
from pipeline.data.source import SPLITS
from pipeline.data.sources.diabetes import Diabetes
from pipeline.data.sources.digits import Digits
from pipeline.data.spec import Spec
from pipeline.data.tasks.task import TASKS
from tests.support.task_data import ANOMALY, ODD, X, Y, source


def everything(split):
    return split.batch(np.arange(len(split)))


def test_regression_keeps_the_numbers_as_they_are(tmp_path):
    data = source(tmp_path, "regression", x_train=X, y_train=Y)
    assert data.spec() == Spec((4,), ("y0", "y1"), TASKS["regression"])
    assert data.spec().outputs == (2,)
    known = {x.tobytes(): y for x, y in zip(X, Y, strict=True)}
    parts = [everything(data.split(name)) for name in SPLITS]
    assert [len(x) for x, _ in parts] == [36, 6, 6, 12]
    assert all(np.array_equal(known[row.tobytes()], value) for x, y in parts for row, value in zip(x, y, strict=True))


def test_a_regression_may_have_one_value(tmp_path):
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


def test_diabetes_is_a_regression():
    diabetes = Diabetes(source="diabetes")
    assert (diabetes.spec().shape, diabetes.spec().outputs, diabetes.spec().task.name) == ((10,), (1,), "regression")
    assert sum(len(diabetes.split(name)) for name in SPLITS) == 442


def test_digits_of_which_one_is_normal_are_anomaly_detection():
    digits = Digits(normal=5)
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


def test_one_output_decides_for_the_second_label_from_one_half_on():
    task, spec = TASKS["classification"], Spec((4,), ("low", "high"))
    for kind in (np.float32, np.float64):
        p = np.array([[0.0], [0.498], [np.nextafter(kind(0.5), kind(0))], [0.5], [0.502], [1.0]], kind)
        rows = task.rows(p, spec)
        assert np.array_equal(rows[:, 1], p[:, 0])
        assert rows.sum(axis=1) == pytest.approx(1)
        assert task.decisions(rows).tolist() == [0, 0, 0, 1, 1, 1]


def test_one_output_that_is_no_probability_is_refused():
    task, spec = TASKS["classification"], Spec((4,), ("low", "high"))
    with pytest.raises(InputError, match=r"must give a probability, 0 to 1 \(received 1.5\)"):
        task.rows(np.array([[0.5], [1.5]]), spec)
