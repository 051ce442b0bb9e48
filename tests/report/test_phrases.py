"""The words and figures that all forms of the report share."""

from collections.abc import Callable

import pytest

from pipeline.core import units
from pipeline.report import junit, markdown, page, phrases
from pipeline.report.document import Report
from tests.support.reports import (
    check,
    checks,
    failing,
    kernels,
    layers,
    model,
    one_model,
    paired,
    printed,
    sample,
    unverified,
)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            sample,
            "small passes all 5 checks: 97.8 % on 360 test examples (95 % interval 95.7 to 98.9 %), "
            "0.3 points under float, 31.2 KiB",
        ),
        (
            failing,
            "ptq fails 1 of 5 checks (drop of accuracy): "
            "96.1 % on 360 test examples (95 % interval 93.5 to 97.6 %), 2.0 points under float, 33.3 KiB",
        ),
        (unverified, "No check ran: 3 models were made, nothing about them is proved"),
        (one_model, "small passes the one check: 31.2 KiB"),
        (lambda: sample(models=(), checks=()), "No check ran: 0 models were made, nothing about them is proved"),
        (
            lambda: sample(checks=(*checks("ptq"), *checks("small"))),
            "ptq and small pass all 10 checks: "
            "small has 97.8 % on 360 test examples (95 % interval 95.7 to 98.9 %), 0.3 points under float, 31.2 KiB",
        ),
        (
            lambda: sample(checks=(check("arena", "small", None, 1, "bytes", status="unavailable"),)),
            "small passes 0 of 1 check, arena could not be measured: "
            "97.8 % on 360 test examples (95 % interval 95.7 to 98.9 %), 0.3 points under float, 31.2 KiB",
        ),
    ],
)  # fmt: skip
def test_the_headline_says_the_outcome_in_one_sentence(make: Callable[[], Report], sentence: str) -> None:
    assert phrases.headline(make()) == sentence


@pytest.mark.parametrize(
    ("drop", "said"),
    [(0.0, "level with float"), (-0.0028, "0.3 points over float"), (0.0003, "0.03 points under float")],
)
def test_the_headline_says_how_far_from_the_baseline(drop: float, said: str) -> None:
    models = (sample().models[0], model("small", 31_949, 0.98, drop={"accuracy": drop}))
    assert f", {said}, " in phrases.headline(sample(models=models))


def test_a_run_without_checks_is_not_called_a_pass() -> None:
    assert phrases.state(unverified()) == "unavailable"
    assert "NOT CHECKED" in printed(unverified())
    assert "Not checked" in page.html(unverified(), {})
    assert "✅" not in markdown.render(unverified())


def test_a_missing_figure_is_a_dash_with_its_reason() -> None:
    bare = unverified()
    figures_of = phrases.figures(bare, bare.models[1])
    missing = {name: cell for name, cell in figures_of.items() if name not in ("size", "gzip")}
    assert {cell.text for cell in missing.values()} == {units.DASH}
    assert {cell.why for cell in missing.values()} == {"not measured: no verify stage names ptq"}


def test_a_missing_figure_gives_the_reason_of_its_check() -> None:
    run = failing()
    assert phrases.figures(run, run.models[1])["arena"] == (units.DASH, "tflite-micro is not installed")


def test_sparsity_is_over_all_counted_weights() -> None:
    counted = layers("int8", 0.5)
    lone = counted[0].model_copy(update={"sparsity": 0.0})  # 144 of 5072 counted weights
    share = phrases.sparsity(sample().models[0].model_copy(update={"kernels": kernels((lone, *counted[1:]))}))
    assert share == pytest.approx(0.5 * 4928 / 5072)


def test_a_value_that_rounds_to_its_limit_shows_more_digits() -> None:
    near = check("size", "small", 65_540, 65_536, "bytes", status="fail")
    assert (phrases.measured(near), phrases.limit(near)) == ("64.0 KiB (65540)", "at most 64.0 KiB")


def test_another_metric_stands_in_for_accuracy() -> None:
    models = tuple(
        m.model_copy(update={"metrics": {"loss": 0.2}, "drop": {} if m.baseline else {"loss": 0.0131}})
        for m in sample().models
    )
    run = sample(models=models)
    assert phrases.headline(run).endswith("loss 0.2 on 360 test examples, 0.0131 under float, 31.2 KiB")
    assert phrases.figures(run, models[1])["change"].text == "−0.0131"


def test_the_arena_is_one_line() -> None:
    assert "Smallest arena on TFLite Micro: ptq 14.0 KiB, small 14.0 KiB" in printed(sample(), 80)
    refused = model("half", 60_000, 0.98, arena=None, arena_refused=True)
    assert phrases.arena(sample(models=(refused,))) == "Smallest arena on TFLite Micro: half does not run"
    assert phrases.arena(unverified()) == ""


@pytest.mark.parametrize(
    ("metric", "figures_of", "front"),
    [
        ("accuracy", {"a": (10, 0.9), "b": (20, 0.95), "c": (30, 0.94), "d": (40, 0.95)}, {"a", "b"}),
        ("accuracy", {"a": (10, 0.9), "b": (10, 0.9), "c": (10, 0.8)}, {"a", "b"}),
        ("accuracy", {"a": (10, 0.9), "b": (20, float("nan"))}, {"a"}),
        ("rmse", {"a": (10, 0.9), "b": (20, 0.5), "c": (30, 0.8)}, {"a", "b"}),
    ],
)
def test_the_pareto_front(metric: str, figures_of: dict[str, tuple[int, float]], front: set[str]) -> None:
    models = tuple(model(name, size, 1.0, metrics={metric: value}) for name, (size, value) in figures_of.items())
    assert phrases.front(sample(models=models)) == front


def test_no_class_that_loses_is_a_dash_with_its_reason() -> None:
    models = (sample().models[0], model("small", 31_949, 0.98, paired=paired(0, 2)))
    row = phrases.against(sample(models=models))["small"]
    assert row["worst"] == (units.DASH, "no class lost more than it gained")
    assert row["drop"].text == "−0.56"


def test_checks_that_the_test_split_can_not_carry_are_named() -> None:
    surely = check("accuracy", "small", 0.99, 0.9, "fraction", "at least", what="accuracy", interval=(0.98, 0.995))
    barely = surely.model_copy(update={"model": "ptq", "interval": (0.862, 1.0)})
    drop = check("accuracy", "ptq", 0.0, 0.01, "points", what="drop of accuracy", interval=(-0.02, 0.03))
    told = "the test split is too small to be sure of accuracy of ptq (95 % interval 86.2 % to 100.0 %)"
    assert phrases.doubtful(sample(checks=(surely, barely))) == told
    run = sample(checks=(surely, barely, drop))
    assert phrases.doubtful(run) == f"{told} and drop of accuracy of ptq (95 % interval −2.00 to 3.00 points)"
    assert "sure of accuracy of ptq" in " ".join(printed(run).split())
    assert "99.0 % (95 % interval 86.2 % to 100.0 %)" in markdown.render(run)
    assert "measured 99.0 % (95 % interval 86.2 % to 100.0 %)" in junit.render(run)
    assert phrases.doubtful(sample(checks=(surely,))) == ""
