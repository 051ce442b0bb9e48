"""Every check passes, fails, or says why it can't tell; from facts alone."""

from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError
from scipy import stats

from pipeline.data.tasks.task import TASKS
from pipeline.verify.checks.check import AnyCheck
from pipeline.verify.model_facts import CheckResult, Errors, ModelFacts, Paired, Port
from pipeline.verify.scoring import statistics

CHECK: TypeAdapter[Any] = TypeAdapter(AnyCheck)
BASE = {"accuracy": 0.98, "f1_macro": 0.98, "log_loss": 0.1, "ece": 0.02}


def facts(**changes: Any) -> ModelFacts:
    """An int8 model that was compared with the baseline and a Keras model; `paired` may be (n, lost, gained)."""
    known: dict[str, Any] = {
        "name": "small", "file": "small.tflite", "sha256": "0", "bytes": 30_000, "gzip_bytes": 20_000, "verified": True,
        "integer_only": True, "metrics": {name: value - 0.01 for name, value in BASE.items()},
        "drop": dict.fromkeys(BASE, 0.01),
        "input": port("INT8"), "output": port("UINT8"), "pruned_sparsity": 0.6,
        "error": Errors(mean_abs=0.0, max_abs=0.0, sqnr_db=None, agreement=0.99),
    }  # fmt: skip
    if isinstance(changes.get("paired"), tuple):
        changes["paired"] = compared(*changes["paired"])
    return ModelFacts(**known | changes)


def port(dtype: str) -> Port:
    return Port(name="port", shape=(1, 2), dtype=dtype)


def compared(n: int, lost: int, gained: int) -> Paired:
    """Of n examples of two classes by turns the first are lost, the last gained."""
    base, this = np.ones(n, bool), np.ones(n, bool)
    this[:lost] = False
    base[n - gained :] = False
    return statistics.paired(base, this, np.arange(n) % 2, ["cat", "dog"])


def judge(settings: dict[str, Any], model: ModelFacts, baseline: ModelFacts | None = None) -> list[CheckResult]:
    return list(CHECK.validate_python(settings).judge(model, baseline))


@pytest.mark.parametrize(
    ("settings", "changes", "status", "value"),
    [
        ({"check": "accuracy", "min": 0.97}, {}, "pass", 0.97),
        ({"check": "accuracy", "min": 0.971}, {}, "fail", 0.97),
        ({"check": "macs", "max": 600}, {"macs": 600}, "pass", 600),
        ({"check": "macs", "max": 599}, {"macs": 600}, "fail", 600),
        ({"check": "macs", "max": 599}, {}, "unavailable", None),
        ({"check": "macs", "max_ratio": 0.6}, {"macs": 600}, "unavailable", None),
        ({"check": "accuracy", "min": 0.5}, {"metrics": {}}, "unavailable", None),
        ({"check": "accuracy", "max_drop": 0.01}, {}, "pass", 0.01),
        ({"check": "accuracy", "max_drop": 0.009}, {}, "fail", 0.01),
        ({"check": "accuracy", "max_drop": 0.01}, {"drop": {}}, "unavailable", None),
        ({"check": "accuracy", "max_drop": 0.0}, {"baseline": True, "drop": {}}, "pass", 0.0),
        # 98 % and 97 % of 100: as floats they are a little more than 0.01 apart
        ({"check": "accuracy", "max_drop": 0.01}, {"drop": {"accuracy": 0.98 - 0.97}, "paired": (100, 1, 0)}, "pass",
         0.01),
        ({"check": "accuracy", "max_drop": 0.01, "confidence": 0.95}, {"paired": (5000, 20, 15)}, "pass", 0.001),
        ({"check": "accuracy", "max_drop": 0.01, "confidence": 0.95}, {"paired": (5000, 150, 15)}, "fail", 0.027),
        ({"check": "accuracy", "max_drop": 0.01, "confidence": 0.95}, {"paired": (359, 5, 3)}, "unavailable", None),
        ({"check": "accuracy", "max_drop": 0.003, "confidence": 0.95}, {"paired": (200, 0, 0)}, "unavailable", None),
        ({"check": "accuracy", "max_drop": 0.01, "confidence": 0.6}, {"paired": (359, 1, 1)}, "pass", 0.0),
        ({"check": "accuracy", "max_drop": 0.01, "confidence": 0.95}, {"drop": {}}, "unavailable", None),
        ({"check": "accuracy", "max_drop": 0.01, "confidence": 0.95}, {"baseline": True, "drop": {}}, "pass", 0.0),
        ({"check": "metric", "metric": "f1_macro", "min": 0.97}, {}, "pass", 0.97),
        ({"check": "metric", "metric": "f1_macro", "min": 0.98}, {}, "fail", 0.97),
        ({"check": "metric", "metric": "f1_macro", "max": 0.9}, {}, "fail", 0.97),
        ({"check": "metric", "metric": "f1_macro", "max_drop": 0.01}, {"drop": {"f1_macro": 0.98 - 0.97}}, "pass",
         0.01),
        ({"check": "metric", "metric": "f1_macro", "max_drop": 0.005}, {}, "fail", 0.01),
        ({"check": "metric", "metric": "log_loss", "max": 0.1}, {}, "pass", 0.09),
        ({"check": "metric", "metric": "log_loss", "max_drop": 0.005}, {}, "pass", -0.01),
        ({"check": "metric", "metric": "log_loss", "max_drop": 0.005}, {"drop": {"log_loss": -0.01}}, "fail", 0.01),
        ({"check": "metric", "metric": "ece", "max_drop": 0.0}, {"baseline": True}, "pass", 0.0),
        ({"check": "metric", "metric": "auc_macro", "min": 0.9}, {}, "unavailable", None),
        ({"check": "metric", "metric": "auc_macro", "max_drop": 0.9}, {"baseline": True}, "unavailable", None),
        ({"check": "flips", "max_lost": 0.01}, {"paired": (500, 5, 5)}, "pass", 0.01),
        ({"check": "flips", "max_lost": 0.009}, {"paired": (500, 5, 5)}, "fail", 0.01),
        ({"check": "flips", "max_lost": 0.0}, {"baseline": True}, "pass", 0.0),
        ({"check": "flips", "max_lost": 0.5}, {}, "unavailable", None),
        ({"check": "flips", "max_class_drop": 0.012}, {"paired": (500, 5, 1)}, "pass", 0.012),
        ({"check": "flips", "max_class_drop": 0.011}, {"paired": (500, 5, 1)}, "fail", 0.012),
        ({"check": "flips", "max_class_drop": 0.0}, {"paired": (500, 0, 4)}, "pass", 0.0),
        ({"check": "flips", "max_class_drop": 0.0}, {"baseline": True}, "pass", 0.0),
        ({"check": "flips", "max_class_drop": 0.5}, {}, "unavailable", None),
        ({"check": "agreement", "min": 0.99}, {}, "pass", 0.99),
        ({"check": "agreement", "min": 0.995}, {}, "fail", 0.99),
        ({"check": "agreement", "min": 0.5}, {"error": None}, "unavailable", None),
        ({"check": "integer_only"}, {}, "pass", "yes"),
        ({"check": "integer_only"}, {"integer_only": False, "floats": ("a", "b")}, "fail", "no"),
        ({"check": "integer_only"}, {"integer_only": None}, "unavailable", None),
        ({"check": "io", "input": "int8"}, {}, "pass", "int8"),
        ({"check": "io", "output": "int8"}, {}, "fail", "uint8"),
        ({"check": "io", "input": "int8"}, {"input": None}, "unavailable", None),
        ({"check": "size", "max_bytes": 30_000}, {}, "pass", 30_000),
        ({"check": "size", "max_bytes": 29_999}, {}, "fail", 30_000),
        ({"check": "size", "max_ratio": 0.5}, {}, "unavailable", None),
        ({"check": "sparsity", "min": 0.6}, {}, "pass", 0.6),
        ({"check": "sparsity", "min": 0.61}, {}, "fail", 0.6),
        ({"check": "sparsity", "min": 0.5}, {"pruned_sparsity": None}, "unavailable", None),
    ],
)  # fmt: skip
def test_a_check_passes_fails_or_can_not_tell(
    settings: dict[str, Any], changes: dict[str, Any], status: str, value: float | str | None
) -> None:
    (found,) = judge(settings, facts(**changes))
    assert (found.check, found.model, found.status) == (settings["check"], "small", status)
    assert found.value == (pytest.approx(value) if isinstance(value, float) else value)
    if status == "unavailable":
        assert found.why


@pytest.mark.parametrize(("limit", "status"), [(0.3, "pass"), (0.29, "fail")])
def test_size_and_macs_are_measured_against_the_baseline(limit: float, status: str) -> None:
    (found,) = judge({"check": "size", "max_ratio": limit}, facts(), facts(bytes=100_000))
    assert (found.status, found.value) == (status, 0.3)
    (found,) = judge({"check": "macs", "max_ratio": limit}, facts(macs=300), facts(macs=1000))
    assert (found.status, found.value) == (status, 0.3)


@pytest.mark.parametrize(
    ("settings", "model", "why"),
    [
        ({"check": "accuracy", "max_drop": 0.01, "confidence": 0.95}, facts(paired=(359, 5, 3)),
         "359 examples can't tell: the drop is between −1.25 and 2.37 points with 95 % confidence; about 6,000 would"),
        ({"check": "accuracy", "max_drop": 0.01, "confidence": 0.9}, facts(paired=(300, 4, 1)),
         "300 examples can't tell: the drop is between −0.50 and 2.50 points with 90 % confidence"),
        ({"check": "accuracy", "max_drop": 0.01, "confidence": 0.975}, facts(paired=(5000, 20, 15)),
         "the drop is between −0.17 and 0.39 points with 97.5 % confidence"),
        ({"check": "flips", "max_lost": 0.1}, facts(paired=(500, 5, 3)), "5 lost and 3 gained"),
        ({"check": "flips", "max_class_drop": 0.1}, facts(paired=(500, 5, 0)), "class cat: 3 of 250 lost, 0 gained"),
        ({"check": "metric", "metric": "pauc", "min": 0.5}, facts(), "no pauc was measured"),
        ({"check": "metric", "metric": "auc_macro", "min": 0.5}, facts(missing={"auc_macro": "no example of cat"}),
         "no example of cat"),
        ({"check": "integer_only"}, facts(integer_only=False, floats=tuple("abcde")), "a; b; c; and 2 more"),
        ({"check": "sparsity", "min": 0.5}, facts(pruned_sparsity=None), "no prune stage stands before this model"),
        ({"check": "static_shapes"}, facts(dynamic=("x -1x4",)),
         "x -1x4; give the converter the whole shape: keras.Input(shape, batch_size=1), or "
         "tf.lite.TFLiteConverter.from_concrete_functions of a tf.TensorSpec without None"),
        ({"check": "io", "output": "int8"}, facts(output=None), "the file has not just one output"),
    ],
)  # fmt: skip
def test_a_check_says_why(settings: dict[str, Any], model: ModelFacts, why: str) -> None:
    (found,) = judge(settings, model)
    assert found.why == why


def test_a_drop_of_0_3_points_on_200_samples_neither_passes_nor_fails_by_luck() -> None:
    settings = {"check": "accuracy", "max_drop": 0.003, "confidence": 0.95}
    for lost in range(4):  # what chance makes of a model that is some 0.3 points worse
        (found,) = judge(settings, facts(paired=(200, lost, 0)))
        assert found.status == "unavailable"


def test_of_models_that_do_keep_the_promise_few_fail_and_of_others_few_pass() -> None:
    settings = {"check": "accuracy", "max_drop": 0.01, "confidence": 0.9}
    lost = np.arange(40)
    verdicts = np.array([judge(settings, facts(paired=(1000, int(count), 0)))[0].status for count in lost])
    chances = stats.binom.pmf(lost, 1000, 0.01)  # of a model that is right on the limit
    assert chances[verdicts == "pass"].sum() < 0.05
    assert chances[verdicts == "fail"].sum() < 0.05
    assert set(verdicts) == {"pass", "fail", "unavailable"}


def test_a_metric_is_judged_with_confidence_as_the_accuracy_is() -> None:
    promise = {"max_drop": 0.01, "confidence": 0.9}
    for paired in ((5000, 20, 15), (5000, 150, 15), (359, 5, 3)):
        (one,) = judge({"check": "accuracy", **promise}, facts(paired=paired))
        (other,) = judge({"check": "metric", "metric": "accuracy", **promise}, facts(paired=paired))
        assert other.model_copy(update={"check": "accuracy"}) == one


@pytest.mark.parametrize(
    ("limit", "confidence", "status"),
    [(0.31, 0.95, "pass"), (0.29, 0.95, "unavailable"), (0.29, 0.8, "pass"), (0.09, 0.95, "fail"), (0.11, 0.8, "fail")],
)
def test_the_rise_of_an_error_is_judged_by_its_whole_interval(limit: float, confidence: float, status: str) -> None:
    paired = Paired(metric="mae", n=100, drop=-0.2, low=-0.3, high=-0.1, confidence=0.95, worst=None)
    settings = {"check": "metric", "metric": "mae", "max_drop": limit, "confidence": confidence}
    (found,) = judge(settings, facts(paired=paired))
    assert (found.status, found.what) == (status, "rise of mae")


def test_confidence_is_for_the_metric_whose_interval_is_measured() -> None:
    check = CHECK.validate_python({"check": "metric", "metric": "f1_macro", "max_drop": 0.1, "confidence": 0.9})
    ((place, fault),) = check.unfit(TASKS["classification"])
    assert place == ("confidence",)
    assert fault.rule.startswith("is for accuracy, the main metric of classification")


def test_the_interval_stands_beside_the_value() -> None:
    settings = {"check": "accuracy", "min": 0.95, "max_drop": 0.01}
    share, drop = judge(settings, facts(metrics={"accuracy": 1.0}, examples=24, paired=(24, 0, 0)))
    assert (share.status, drop.status) == ("pass", "pass")
    assert share.interval == pytest.approx((0.8620, 1.0), abs=1e-4)
    assert drop.interval is not None
    assert drop.interval[1] > 0.01
    rise = Paired(metric="mae", n=9, drop=-0.2, low=-0.3, high=-0.1, confidence=0.95, worst=None)
    (found,) = judge({"check": "metric", "metric": "mae", "max_drop": 1.0}, facts(paired=rise, drop={"mae": -0.2}))
    assert found.interval == (0.1, 0.3)


@pytest.mark.parametrize(
    ("settings", "rules"),
    [
        ({"check": "accuracy", "min": 0.9, "max_drop": 0.02}, ["accuracy", "drop of accuracy"]),
        ({"check": "metric", "metric": "ece", "max": 0.9, "max_drop": 0.02}, ["ece", "rise of ece"]),
        ({"check": "flips", "max_lost": 0.9, "max_class_drop": 0.02}, ["lost decisions", "drop of a class"]),
        ({"check": "io", "input": "int8", "output": "int8"}, ["input type", "output type"]),
        ({"check": "size", "max_bytes": 9, "max_ratio": 0.5}, ["file size", "file size against the baseline"]),
    ],
)
def test_each_promise_is_a_result_of_its_own(settings: dict[str, Any], rules: list[str]) -> None:
    assert [found.what for found in judge(settings, facts())] == rules


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"check": "accuracy"}, "give min, max_drop or both"),
        ({"check": "accuracy", "min": 0.9, "confidence": 0.95}, "confidence: is for max_drop, which is not given"),
        ({"check": "accuracy", "max_drop": 0.1, "confidence": 0.5}, "greater than 0.5"),
        ({"check": "accuracy", "max_drop": 0.1, "confidence": 1.0}, "less than 1"),
        ({"check": "metric", "metric": "f1_macro"}, "give min, max, max_drop or several of them"),
        ({"check": "metric", "metric": "f1_makro", "min": 0.9}, "'f1_macro'"),
        ({"check": "metric", "metric": "f1_macro", "max_drop": -0.1}, "greater than or equal to 0"),
        ({"check": "flips"}, "give max_lost, max_class_drop or both"),
        ({"check": "io"}, "give input, output or both"),
        ({"check": "size"}, "give max_bytes, max_ratio or both"),
        ({"check": "macs"}, "give max, max_ratio or both"),
    ],
)
def test_a_check_that_promises_nothing_is_refused(settings: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValidationError, match=rule):
        CHECK.validate_python(settings)


@pytest.mark.parametrize(
    ("settings", "needs"),
    [
        ({"check": "accuracy", "max_drop": 0.1}, "max_drop"),
        ({"check": "accuracy", "min": 0.1}, ""),
        ({"check": "metric", "metric": "ece", "max_drop": 0.1}, "max_drop"),
        ({"check": "metric", "metric": "ece", "max": 0.1}, ""),
        ({"check": "flips", "max_lost": 0.1}, "max_lost"),
        ({"check": "flips", "max_class_drop": 0.1}, "max_class_drop"),
        ({"check": "size", "max_ratio": 0.1}, "max_ratio"),
        ({"check": "size", "max_bytes": 1}, ""),
        ({"check": "integer_only"}, ""),
    ],
)
def test_a_check_names_what_needs_a_baseline(settings: dict[str, Any], needs: str) -> None:
    assert CHECK.validate_python(settings).needs_baseline == needs
