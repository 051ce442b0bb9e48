"""Checks about outputs are judged on the runtime that counts."""

import pytest

from pipeline.verify.checks.accuracy import Accuracy
from pipeline.verify.checks.agreement import Agreement
from pipeline.verify.checks.flips import Flips
from pipeline.verify.checks.size import Size
from pipeline.verify.model_facts import Errors, ModelFacts, Paired, RuntimeFacts
from pipeline.verify.verdict import judge


def paired(drop, n):
    return Paired(n=n, lost=round(drop * n), gained=0, drop=drop, low=0, high=0, confidence=0.95, worst=None)


def runtime(name, accuracy, examples=200, drop=0.0, **more):
    metrics = {"accuracy": accuracy}
    return RuntimeFacts(
        runtime=name, examples=examples, accuracy=accuracy, score=accuracy, metrics=metrics, drop={"accuracy": drop},
        paired=paired(drop, examples), **more,
    )  # fmt: skip


@pytest.fixture
def model():
    """0.95 on XNNPACK, 0.90 on the reference kernels, 0.80 on TFLM, whose kernels saw a part."""
    return ModelFacts(
        name="m", file="m.tflite", sha256="", bytes=100, gzip_bytes=50, verified=True, examples=200,
        metrics={"accuracy": 0.95}, drop={"accuracy": 0.0}, paired=paired(0.0, 200),
        runtimes=(
            runtime("xnnpack", 0.95, base=True), runtime("reference", 0.90, drop=0.05),
            runtime("tflm", 0.80, examples=50, drop=0.15),
        ),
    )  # fmt: skip


CHECK = Accuracy(check="accuracy", min=0.85, max_drop=0.10)


def judged(model, name):
    return list(judge(CHECK, model, None, name))


def test_without_a_runtime_the_worst_that_ran_the_whole_split_decides(model):
    least, drop = judged(model, None)
    assert (least.status, least.value, least.runtime) == ("pass", 0.90, "reference")
    assert (drop.status, drop.value, drop.what) == ("pass", 0.05, "drop of accuracy on LiteRT, reference kernels")


def test_the_runtime_of_the_target_decides_and_its_sample_is_told(model):
    least, drop = judged(model, "tflm")
    assert [(each.status, each.value) for each in (least, drop)] == [("fail", 0.80), ("fail", 0.15)]
    assert least.why == "the first 50 of 200 test examples"


def test_the_base_runtime_is_judged_as_it_is(model):
    least, _ = judged(model, "xnnpack")
    assert (least.value, least.what, least.runtime, least.why) == (0.95, "accuracy", "xnnpack", "")


def test_a_runtime_that_did_not_run_is_unavailable_with_its_reason(model):
    refused = RuntimeFacts(runtime="tflm", examples=0, unavailable="it has no kernel for ELU")
    model = model.model_copy(update={"runtimes": (*model.runtimes[:2], refused)})
    assert {(each.status, each.value, each.why) for each in judged(model, "tflm")} == {
        ("unavailable", None, "TFLite Micro: it has no kernel for ELU")
    }


def test_flips_are_those_of_the_runtime_that_counts(model):
    check = Flips(check="flips", max_lost=0.10)
    assert [(each.status, each.value) for each in judge(check, model, None, "tflm")] == [("fail", 8 / 50)]
    assert [(each.status, each.value) for each in judge(check, model, None, None)] == [("pass", 0.05)]


def test_agreement_is_that_of_the_runtime_that_counts(model):
    error = Errors(mean_abs=0, max_abs=0, sqnr_db=None, agreement=1.0, runtimes={"reference": 0.97, "tflm": 0.6})
    model, check = model.model_copy(update={"error": error}), Agreement(check="agreement", min=0.95)
    found = [next(iter(judge(check, model, None, name))) for name in ("xnnpack", "tflm", None)]
    assert [(each.status, each.value) for each in found] == [("pass", 1.0), ("fail", 0.6), ("pass", 0.97)]
    assert found[1].what == "agreement with Keras on TFLite Micro"


def test_what_is_not_about_outputs_has_no_runtime(model):
    (result,) = judge(Size(check="size", max_bytes=50), model, None, "tflm")
    assert (result.status, result.runtime) == ("fail", None)


def test_facts_of_an_older_report_are_judged_without_runtimes(model):
    older = model.model_copy(update={"runtimes": (RuntimeFacts(runtime="xnnpack", base=True, examples=200),)})
    assert [each.value for each in judged(older, None)] == [0.95, 0.0]
