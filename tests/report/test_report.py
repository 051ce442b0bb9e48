"""The report's renderings, on a sample run and on the runs that go wrong."""

import io
import itertools
import re
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from pipeline.core import units
from pipeline.report import figures, junit, markdown, page, phrases, table
from pipeline.report.document import DataFacts, Report, Split, StepFacts
from pipeline.verify.model_facts import (
    ArenaFacts,
    CheckResult,
    ClassDrop,
    ClassFacts,
    Errors,
    Latency,
    LayerFacts,
    ModelFacts,
    Paired,
    Port,
    RuntimeFacts,
    TensorError,
)

EVIL = "<script>alert('$x_{')</script>\x1b[31m|@all [a](http://b) " + "very_long_name" * 8


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def confusion(classes: int, each: int, wrong: int) -> tuple[tuple[int, ...], ...]:
    """Rows of `each` examples, of which up to `wrong` are off the diagonal."""
    rows = [[0] * classes for _ in range(classes)]
    for true, row in enumerate(rows):
        misses = (true * 7) % (wrong + 1)
        for number in range(misses):
            row[(true + 1 + number * 5) % classes] += 1
        row[true] += each - sum(row)
    return tuple(map(tuple, rows))


def layers(dtype: str, sparsity: float) -> tuple[LayerFacts, ...]:
    """The ops of a small network for 8 x 8 images."""
    integer = dtype == "int8"
    shapes: list[tuple[str, str, tuple[int, ...], tuple[int, ...] | None, int | None]] = [
        ("CONV_2D", "small_cnn/conv1/Relu;small_cnn/bn1/FusedBatchNormV3", (1, 8, 8, 16), (16, 3, 3, 1), 9_216),
        ("CONV_2D", "small_cnn/conv2/Relu;small_cnn/bn2/FusedBatchNormV3", (1, 4, 4, 32), (32, 3, 3, 16), 73_728),
        ("DEPTHWISE_CONV_2D", "small_cnn/depthwise/depthwise", (1, 4, 4, 32), (1, 3, 3, 32), 4_608),
        ("MEAN", "small_cnn/global_average_pooling2d/Mean", (1, 32), None, None),
        ("FULLY_CONNECTED", "small_cnn/logits/MatMul;small_cnn/logits/BiasAdd", (1, 10), (10, 32), 320),
        ("SOFTMAX", "StatefulPartitionedCall:0", (1, 10), None, None),
    ]
    return tuple(
        LayerFacts(
            index=index,
            op=op,
            name=name,
            shape=shape,
            dtype=dtype,
            scale=0.0235 / (index + 1) if integer else None,
            zero_point=-128 if integer else None,
            weights_shape=weights,
            weights_dtype=dtype if weights else None,
            weights_scales=(1 if op == "FULLY_CONNECTED" else weights[0]) if integer and weights else None,
            sparsity=sparsity if weights and "DEPTHWISE" not in op else None,
            macs=macs,
        )
        for index, (op, name, shape, weights, macs) in enumerate(shapes)
    )


def classes(counts: tuple[tuple[int, ...], ...]) -> tuple[ClassFacts, ...]:
    """The classes of a confusion matrix."""
    found = []
    for label, row in enumerate(counts):
        right, said = row[label], sum(other[label] for other in counts)
        precision = right / said if said else None
        f1 = 2 * right / (said + sum(row))
        found.append(
            ClassFacts(label=str(label), precision=precision, recall=right / sum(row), f1=f1, support=sum(row))
        )
    return tuple(found)


def paired(lost: int, gained: int, n: int = 360) -> Paired:
    worst = ClassDrop(label="8", examples=36, lost=lost, gained=0, drop=lost / 36) if lost else None
    drop = (lost - gained) / n
    return Paired(
        n=n, lost=lost, gained=gained, mcnemar_p=0.375, drop=drop, low=drop - 0.011, high=drop + 0.014, confidence=0.95,
        worst=worst,
    )  # fmt: skip


def tensor(index: int, layer: str) -> TensorError:
    """The worst three have a histogram."""
    counts = tuple((7 * index + bin) % 5 * 100 for bin in range(48)) if index < 3 else ()
    return TensorError(
        index=index, op="CONV_2D", layer=layer, scale=0.02, sqnr_db=31.4 + index, rmse_over_scale=0.31, cosine=0.999,
        saturated=0.514, mean_abs=0.004, max_abs=0.03, relative=0.016, power=-0.0001,
        edges=tuple(bin / 16 for bin in range(49)) if counts else (), counts=counts, float_counts=counts[::-1],
    )  # fmt: skip


def model(name: str, size: int, accuracy: float, count: int = 10, sparse: float = 0.0, **changes: Any) -> ModelFacts:
    """A verified int8 model, or the float baseline when it is so named."""
    base = name == "float"
    dtype = "float32" if base else "int8"
    scale = {} if base else {"scale": 0.00390625, "zero_point": -128}
    facts = ModelFacts(
        name=name,
        file=f"{name}.tflite",
        sha256=digest(name),
        bytes=size,
        gzip_bytes=int(size * (0.92 - sparse * 0.6)),
        verified=True,
        baseline=base,
        quantization="float32" if base else "int8",
        integer_only=not base,
        ops={"CONV_2D": 2, "DEPTHWISE_CONV_2D": 1, "MEAN": 1, "FULLY_CONNECTED": 1, "SOFTMAX": 1},
        macs=87_872,
        parameters=5_466,
        input=Port(name="image", shape=(1, 8, 8, 1), dtype=dtype, **scale),
        output=Port(name="probabilities", shape=(1, count), dtype=dtype, **scale),
        arena_bytes=None if base else 14_208,
        arena=None if base else ArenaFacts(total=14_208, head=9_000, tail=5_208, smallest=14_336),
        arena_why="TFLM can't run this model: no kernel" if base else "",
        layers=layers(dtype, sparse),
        examples=360,
        metrics={"accuracy": accuracy, "f1_macro": accuracy - 0.001, "log_loss": 0.0824, "ece": 0.0131},
        missing={"auc_macro": "the split has no example of 3"},
        per_class=classes(confusion(count, 36, 2 if base else 3)),
        paired=None if base else paired(round((0.9806 - accuracy) * 360) + 2, 2),
        drop={} if base else {"accuracy": 0.9806 - accuracy},
        error=None if base else Errors(mean_abs=0.00213, max_abs=0.0703, sqnr_db=31.4, agreement=0.9917),
        latency_ms=Latency(p50=0.0461 if base else 0.0214, p95=0.0233, runs=200),
        confusion=confusion(count, 36, 2 if base else 3),
        runtimes=(
            RuntimeFacts(runtime="xnnpack", examples=360, accuracy=accuracy),
            RuntimeFacts(runtime="tflm", examples=36, unavailable="no kernel"),
        ),
        tensors=() if base else tuple(tensor(index, f"layer {index}") for index in range(4)),
    )
    return facts.model_copy(update=changes)


def curves(start: float, epochs: int) -> dict[str, tuple[float, ...]]:
    left = [start * 0.72**epoch for epoch in range(epochs)]
    return {
        "loss": tuple(0.06 + 2 * value for value in left),
        "accuracy": tuple(0.992 - value * 0.8 for value in left),
        "val_loss": tuple(0.09 + 1.9 * value + 0.01 * (-1) ** index for index, value in enumerate(left)),
        "val_accuracy": tuple(0.981 - value * 0.8 + 0.003 * (-1) ** index for index, value in enumerate(left)),
        "learning_rate": (0.001,) * epochs,
    }


def step(name: str, stage: str, seconds: float, cached: bool = False, **changes: Any) -> StepFacts:
    return StepFacts(name=name, stage=stage, key=digest(name + stage), cached=cached, seconds=seconds, **changes)


def check(name: str, of: str, value: Any, limit: Any, unit: Any, bound: Any = "at most", **changes: Any) -> CheckResult:
    facts: dict[str, Any] = {"status": "pass", **changes}
    return CheckResult(check=name, model=of, value=value, limit=limit, unit=unit, bound=bound, **facts)


def checks(of: str) -> tuple[CheckResult, ...]:
    return (
        check("accuracy", of, 0.0028, 0.01, "points", what="drop of accuracy"),
        check("integer_only", of, "yes", "yes", "text", "is", what="integer-only"),
        check("size", of, 31_949, 65_536, "bytes"),
        check("sparsity", of, 0.602, 0.6, "fraction", "at least", what="zeros in the pruned weights"),
        check("arena", of, 14_336, 32_768, "bytes", why="measured on TFLM 0.dev2026"),
    )


def sample(**changes: Any) -> Report:
    """A run on the handwritten digits: a float baseline, ptq, and the pruned and quantized `small`."""
    skipped = {"layer": "depthwise", "kind": "DepthwiseConv2D", "done": False}
    facts = Report(
        name="digits",
        status="pass",
        environment={
            "python": "3.11.7", "tensorflow": "2.21.0", "tf_keras": "2.21.0", "ai_edge_litert": "2.3.0",
            "tensorflow_model_optimization": "0.8.1", "machine": "x86_64, 2 cores, AVX512 VNNI",
        },
        config={
            "name": "digits", "seed": 7, "target": "cortex-m4", "data": {"source": "digits"},
            "model": {"source": "small_cnn", "filters": 16},
            "stages": [{"stage": "train", "epochs": 20}, {"stage": "prune", "from": "train", "sparsity": 0.6}],
        },
        data=DataFacts(
            fingerprint=digest("data"),
            labels=tuple("0123456789"),
            splits={
                name: Split(examples=examples, sha256=digest(name))
                for name, examples in (("train", 1077), ("validation", 180), ("test", 360), ("calibration", 180))
            },
        ),
        steps=(
            step("train", "train", 9.4, True, curves=curves(0.7, 20), settings={"epochs": 20, "batch": 64}),
            step("float", "convert", 2.1, True, settings={"quantization": "float32"}),
            step("ptq", "convert", 2.6, True, settings={"quantization": "int8", "calibration": {"samples": 200}}),
            step(
                "prune", "prune", 7.75, curves=curves(0.2, 8), settings={"sparsity": 0.6, "epochs": 8},
                layers=(
                    {"layer": "conv1", "kind": "Conv2D", "done": True, "why": ""},
                    {**skipped, "why": "288 weights: too few to be worth their accuracy"},
                ),
            ),
            step(
                "qat", "qat", 12.2, curves=curves(0.1, 4), settings={"preserve": "sparsity", "epochs": 4},
                notes=("Zeros in conv2 fell from 0.60 to 0.58: prune-preserving training doesn't hold 1x1 kernels.",),
            ),
            step("small", "convert", 2.9, settings={"quantization": "int8"}),
            step("verify", "verify", 65.0, settings={"of": ["ptq", "small"], "baseline": "float"}),
        ),
        models=(
            model("float", 96_256, 0.9806),
            model("ptq", 34_120, 0.975),
            model("small", 31_949, 0.9778, sparse=0.602),
        ),
        checks=checks("small"),
    )  # fmt: skip
    return facts.model_copy(update=changes)


def failing() -> Report:
    bad = check("accuracy", "ptq", 0.02, 0.01, "points", what="drop of accuracy", status="fail")
    gone = check("arena", "ptq", None, 32_768, "bytes", status="unavailable", why="tflite-micro is not installed")
    ptq = model("ptq", 34_120, 0.9606, arena_bytes=None, arena=None, arena_why="tflite-micro is not installed")
    models = (sample().models[0], ptq, sample().models[2])
    return sample(status="fail", checks=(bad, *checks("ptq")[1:4], gone, *checks("small")), models=models)


def unverified() -> Report:
    bare: dict[str, Any] = {
        "verified": False, "baseline": False, "quantization": None, "integer_only": None, "ops": {}, "macs": None,
        "parameters": None, "input": None, "output": None, "layers": (), "examples": None, "metrics": {}, "drop": {},
        "error": None, "latency_ms": None, "confusion": (), "arena_bytes": None, "arena": None, "missing": {},
        "per_class": (), "paired": None, "runtimes": (), "tensors": (),
    }  # fmt: skip
    return sample(models=tuple(m.model_copy(update=bare) for m in sample().models), checks=())


def many_classes(classes: int = 100) -> Report:
    names = tuple(f"class number {number}" for number in range(classes))
    small = model("small", 300_000, 0.70, classes, 0.4, drop={"accuracy": 0.01}, examples=3_600)
    models = (model("float", 9_625_600, 0.71, classes, examples=3_600), small)
    return sample(data=sample().data.model_copy(update={"labels": names}), models=models)


def hostile() -> Report:
    data = DataFacts(fingerprint=EVIL, labels=(EVIL,) * 10, splits={EVIL: Split(examples=1, sha256=EVIL)})
    row = ClassFacts(label=EVIL, precision=None, recall=None, f1=None, support=0)
    lost_most = paired(3, 2).model_copy(update={"worst": ClassDrop(label=EVIL, examples=9, lost=3, gained=0, drop=0.3)})
    said: dict[str, Any] = {"file": EVIL, "missing": {EVIL: EVIL}, "per_class": (row,)}
    evil = [m.model_copy(update={"name": f"{m.name} {EVIL}", **said}) for m in sample().models]
    traced = {"paired": lost_most, "tensors": (tensor(0, EVIL),)}
    evil = [m.model_copy(update={"arena_why": EVIL} if m.baseline else traced) for m in evil]
    steps = (step(EVIL, EVIL, 1.0, curves=curves(0.5, 3), notes=(EVIL,), settings={EVIL: EVIL}),)
    lost = check(EVIL, evil[2].name, EVIL, EVIL, "text", status="fail", why=EVIL)
    found = {"name": EVIL, "environment": {EVIL: EVIL}, "config": {EVIL: EVIL}, "data": data}
    return sample(**found, steps=steps, models=tuple(evil), checks=(lost,), status="fail")


def one_model() -> Report:
    diverged = {"loss": (float("nan"),), "val_loss": (float("nan"),)}
    none: dict[str, Any] = {
        "metrics": {},
        "drop": {},
        "confusion": (),
        "per_class": (),
        "paired": None,
        "missing": {},
        "tensors": (),
    }
    one = model("small", 31_949, 0.9, latency_ms=None, examples=None, **none)
    return sample(models=(one,), checks=checks("small")[:1], steps=(step("train", "train", 0.2, curves=diverged),))


RUNS = [sample, failing, unverified, many_classes, hostile, one_model]
runs = pytest.mark.parametrize("make", RUNS)


def printed(report: Report, width: int = 80, where: str = "", **settings: Any) -> str:
    console = Console(file=io.StringIO(), width=width, **settings)
    table.render(report, console, where)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (sample, "small passes all 5 checks: 97.8 % on 360 test examples, 0.3 points under float, 31.2 KiB"),
        (
            failing,
            "ptq fails 1 of 5 checks (drop of accuracy): "
            "96.1 % on 360 test examples, 2.0 points under float, 33.3 KiB",
        ),
        (unverified, "No check ran: 3 models were made, nothing about them is proved"),
        (one_model, "small passes the one check: 31.2 KiB"),
        (lambda: sample(models=(), checks=()), "No check ran: 0 models were made, nothing about them is proved"),
        (
            lambda: sample(checks=(*checks("ptq"), *checks("small"))),
            "ptq and small pass all 10 checks: "
            "small has 97.8 % on 360 test examples, 0.3 points under float, 31.2 KiB",
        ),
        (
            lambda: sample(checks=(check("arena", "small", None, 1, "bytes", status="unavailable"),)),
            "small passes 0 of 1 check, arena could not be measured: "
            "97.8 % on 360 test examples, 0.3 points under float, 31.2 KiB",
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
    share = phrases.sparsity(sample().models[0].model_copy(update={"layers": (lone, *counted[1:])}))
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


@runs
def test_the_page_is_whole_and_asks_for_nothing(make: Callable[[], Report]) -> None:
    run = make()
    text = page.html(run, figures.draw(run))
    assert text.lstrip().startswith("<!doctype html>")
    assert not re.search(r"<(?:link|script|img|iframe)[^>]+(?:href|src)=[\"'](?!data:)", text)
    assert not re.search(r"@import|url\((?!#)|xmlns|\bNone\b", text)
    ids = re.findall(r'\sid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(ids)


@runs
def test_the_page_escapes_what_the_report_says(make: Callable[[], Report]) -> None:
    run = make()
    text = page.html(run, figures.draw(run))
    assert text.count("<script>") == text.count("</script>") == 1
    assert EVIL not in text


def test_the_page_allows_just_its_own_script() -> None:
    text = page.html(sample(), {})
    script = text.split("<script>")[1].split("</script>")[0]
    allowed = b64encode(sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{allowed}'" in text


def test_the_page_names_the_bytes_that_ship() -> None:
    run = failing()
    text = page.html(run, figures.draw(run))
    hashes = [m.sha256 for m in run.models] + [split.sha256 for split in run.data.splits.values()]
    assert all(f">{value}</code>" in text for value in hashes)
    for said in ("288 weights: too few", "Zeros in conv2 fell", "tflite-micro is not installed", "cortex-m4"):
        assert said in text
    assert text.count('class="matrix"') == 3
    assert text.count("<figure") == 2 + 6 + 3 + 2 * 3


def test_the_page_of_files_that_no_run_made_has_no_empty_sections() -> None:
    run = sample(steps=(), config={}, checks=())
    text = page.html(run, {})
    assert not re.search('id="(notes|steps|config)"', text)
    assert "Name what must hold with --checks FILE." in text
    assert phrases.headline(run) == "No check ran: 3 models were measured, nothing about them is proved"


def test_the_page_works_without_drawings() -> None:
    text = page.html(sample(), {})
    assert "Learning curves" not in text
    assert "Against" in text


def test_few_countare_counted_and_many_are_a_heat_map() -> None:
    few, many = page.html(sample(), {}), page.html(many_classes(), {})
    assert "<td" in few.split('class="matrix"')[1]
    assert 'class="heat"' not in few
    assert 'class="matrix"' not in many
    assert 'viewBox="0 0 100 100"' in many
    assert "class number 1</span>" in many.split('class="misses"')[1]


def test_a_thousand_countstay_a_small_page() -> None:
    text = page.html(many_classes(1000), {})
    assert len(text) < 1_000_000


def test_the_drawings_are_the_same_bytes_twice() -> None:
    assert figures.draw(sample()) == figures.draw(sample())


def test_the_drawings_depend_on_their_key_alone() -> None:
    other = sample(environment={}, config={}, name="other", checks=())
    assert figures.key_content(other) == figures.key_content(sample())
    assert figures.draw(other) == figures.draw(sample())
    assert figures.key_content(failing()) != figures.key_content(sample())


@runs
def test_a_drawing_is_one_svg_in_the_colours_and_the_font_of_the_page(make: Callable[[], Report]) -> None:
    for text in figures.draw(make()).values():
        root = ElementTree.fromstring(text)
        assert (root.tag, root.get("role")) == ("svg", "img")
        assert root.get("aria-label")
        assert not re.search(r"#0[1-4]0[1-4]0[1-4]|DejaVu|<image|<style|<metadata", text)
        assert {"var(--ink, currentColor)", "var(--muted, currentColor)"} & set(re.findall(r"var\([^)]*\)", text))


def test_the_drawings_name_every_model_and_stage() -> None:
    drawn = figures.draw(sample())
    stages = [figures.curve(name, metric) for name in ("train", "prune", "qat") for metric in ("loss", "accuracy")]
    tensors = [figures.values(name, tensor(index, "")) for name in ("ptq", "small") for index in range(3)]
    assert list(drawn) == [figures.SCATTER, figures.SCATTER_NARROW, *stages, *tensors]
    texts = [node.text for node in ElementTree.fromstring(drawn[figures.SCATTER]).iter("text")]
    assert {"small", "ptq", "float (baseline)", "KiB"} <= set(texts)


def test_the_key_of_a_curve_is_a_file_name() -> None:
    assert figures.curve("train", "../a,b") == "curve,train,..%2Fa%2Cb"


def test_a_histogram_lays_the_float_values_over_the_files() -> None:
    drawn = figures.draw(sample())
    for index in range(3):
        root = ElementTree.fromstring(drawn[figures.values("small", tensor(index, ""))])
        area, line = (p for p in root.iter("path") if len(p.get("d", "").split("L")) > 40)
        assert "fill: var(--accent" in area.attrib["style"]
        assert "stroke: var(--ink" in line.attrib["style"]
        assert "fill: none" in line.attrib["style"]
        assert area.get("d") != line.get("d")
    assert figures.values("small", tensor(3, "")) not in drawn


def test_the_page_defines_and_draws_the_errors_of_tensors() -> None:
    section = page.html(sample(), figures.draw(sample())).split('id="tensors"')[1].split("</section>")[0]
    for said in ("10 log<sub>10</sub>(Σf² / Σe²)", "√(mean e²) / scale", "Σqf / √(Σq² Σf²)", "mean |e|, max |e|",
                 "Σ|e| / Σ|f|", "1 − Σq² / Σf²", "either end of the integers"):  # fmt: skip
        assert said in section
    assert section.count("<svg") == 6
    assert "SQNR 31.4 dB," in section
    assert "saturated 51.4 %" in section
    assert "-0.0" not in section


def test_the_arena_is_shown_in_full_or_with_the_reason_why_not() -> None:
    text = page.html(sample(), {})
    assert "14,336 bytes" in text
    assert "the smallest that works; used 14,208, head 9,000 and tail 5,208" in text
    assert "<small>TFLM can&#39;t run this model: no kernel</small>" in text
    assert "Smallest arena on TFLite Micro: ptq 14.0 KiB, small 14.0 KiB" in printed(sample(), 80)
    assert "| arena (TFLite Micro) |" in markdown.render(sample())
    refused = model("half", 60_000, 0.98, arena=None, arena_refused=True)
    assert phrases.arena(sample(models=(refused,))) == "Smallest arena on TFLite Micro: half does not run"
    assert phrases.arena(unverified()) == ""
    assert "arena" not in markdown.render(unverified())


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


def test_the_page_marks_the_pareto_front() -> None:
    text = page.html(sample(), figures.draw(sample()))
    assert text.count(">Pareto</span>") == 2  # ptq is larger and worse than small
    assert ">Pareto</span>" not in page.html(one_model(), {})


@pytest.mark.parametrize("step", [0.0001, 0.002])
def test_twelve_names_in_the_scatter_do_not_meet(step: float) -> None:
    crowd = tuple(model(f"a_longer_name_{n}", 30_000 + 2500 * n, 0.9 + step * n, drop={}) for n in range(12))
    drawn = figures.draw(sample(models=crowd))
    for key in (figures.SCATTER, figures.SCATTER_NARROW):
        names = [node for node in ElementTree.fromstring(drawn[key]).iter("text") if "_name_" in (node.text or "")]
        assert len(names) == 12
        boxes = [_around(node) for node in names]
        assert not [pair for pair in itertools.combinations(boxes, 2) if _meet(*pair)]


def _around(node: ElementTree.Element) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a text of 11 px, whose letters are at least 5 px wide."""
    x, y, wide = float(node.attrib["x"]), float(node.attrib["y"]), 5.0 * len(node.text or "")
    anchor = node.attrib["style"].split("text-anchor: ")[1].split(";")[0]
    left = x - wide * {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor]
    return left, y - 8, left + wide, y


def _meet(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def test_names_in_the_scatter_do_not_meet() -> None:
    crowd = tuple(model(f"model_{n}", 30_000 + 40 * n, 0.97 + 0.0001 * n, drop={}) for n in range(6))
    root = ElementTree.fromstring(figures.draw(sample(models=crowd))[figures.SCATTER])
    names = [node for node in root.iter("text") if (node.text or "").startswith("model_")]
    sides = [sorted(float(n.attrib["y"]) for n in names if side in n.attrib["style"]) for side in ("start", "end")]
    assert len(names) == 6
    assert all(after - before > 9 for side in sides for before, after in itertools.pairwise(side))


def test_nothing_is_drawn_of_nothing() -> None:
    assert figures.draw(one_model()) == {}  # one model has nothing to compare, and its training diverged at once


@runs
def test_markdown_keeps_its_tables(make: Callable[[], Report]) -> None:
    text = markdown.render(make())
    for block in text.split("\n\n"):
        bars = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines() if line.startswith("|")}
        assert len(bars) <= 1
    assert "<script>" not in text
    assert "@all" not in text
    assert "\x1b" not in text


def test_markdown_says_what_failed() -> None:
    text = markdown.render(failing())
    assert text.startswith("### ❌ digits: ptq fails 1 of 5 checks")
    assert "| drop of accuracy | ptq | ✗ fail | 2.00 points | at most 1.00 points | – |" in text
    assert "| arena | ptq | ? unavailable | – | at most 32.0 KiB | tflite-micro is not installed |" in text


@runs
@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_is_never_overrun(make: Callable[[], Report], width: int) -> None:
    text = printed(make(), width)
    assert max(map(len, text.splitlines())) <= width
    assert "\x1b" not in text


def test_the_terminal_shows_every_figure_in_80_columns() -> None:
    text = printed(failing(), 80, "runs/digits/report.html")
    assert "ptq         96.1 %     −2.00  33.3 KiB  30.7 KiB     0.0 %  yes      0.0214 ms" in text
    assert "✗ fail         ptq    drop of accuracy" in text
    assert "? unavailable  ptq    arena                        tflite-micro is not installed" in text
    assert text.endswith("Report: runs/digits/report.html\n")


def test_the_path_of_the_report_stays_on_one_line() -> None:
    where = "/a/very/long/path" * 10 + "/report.html"
    assert f"Report: {where}\n" in printed(sample(), 80, where)


def test_colour_is_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[32m✓ pass" in printed(sample(), force_terminal=True, color_system="standard")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[32m" not in printed(sample(), force_terminal=True, color_system="standard")


def test_an_ascii_terminal_gets_ascii() -> None:
    file = io.BytesIO()
    console = Console(file=io.TextIOWrapper(file, encoding="ascii"), width=80)
    table.render(failing(), console)
    console.file.flush()
    assert b"x fail" in file.getvalue()
    assert b"-2.00" in file.getvalue()


@runs
def test_junit_has_a_case_a_check(make: Callable[[], Report]) -> None:
    run = make()
    root = ElementTree.fromstring(junit.render(run).encode())
    assert len(root.findall(".//testcase")) == int(root.attrib["tests"]) == len(run.checks)


def test_junit_tells_failures_from_what_could_not_be_measured() -> None:
    root = ElementTree.fromstring(junit.render(failing()).encode())
    assert (root.attrib["failures"], root.attrib["skipped"]) == ("1", "1")
    failure, skipped = root.find(".//failure"), root.find(".//skipped")
    assert failure is not None
    assert failure.attrib["message"] == "measured 2.00 points, limit at most 1.00 points"
    assert skipped is not None
    assert skipped.attrib["message"] == "tflite-micro is not installed"
    assert root.find(".//*[@time]") is None


def test_only_drawing_imports_matplotlib() -> None:
    code = (
        "import sys; from pipeline.report import figures, junit, markdown, page, table, phrases;"
        "sys.exit(bool({'matplotlib', 'rich', 'numpy', 'tensorflow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "bytes", "–"), ("yes", "text", "yes"), (0.978, "fraction", "97.8 %"), (0.0028, "points", "0.28 points"),
        (-0.0028, "points", "−0.28 points"), (2048, "bytes", "2.0 KiB"), (0.0214, "ms", "0.0214 ms"),
        (3, "count", "3"), (0.12345, "text", "0.1235"),
    ],
)  # fmt: skip
def test_a_check_is_written_in_its_unit(value: float | str | None, unit: str, text: str) -> None:
    assert units.measure(value, unit) == text


def test_the_page_compares_with_the_baseline() -> None:
    text = page.html(sample(), {})
    assert '<h2 id="against">Against float</h2>' in text
    assert "On the same 360 test examples." in text
    section = text.split('id="against"')[1].split("</section>")[0]
    for said in (">0.28<", ">−0.82 to 1.68<", "95 % interval", ">0.38<", "8: 3 of 36 lost"):
        assert said in section


def test_the_page_lists_metrics_and_classes() -> None:
    section = page.html(sample(), {}).split('id="metrics"')[1].split("</section>")[0]
    assert "<dt>f1_macro</dt><dd>97.4 %</dd>" in section
    assert "<dt>log_loss</dt><dd>0.0824</dd>" in section
    assert "the split has no example of 3" in section
    assert section.count("<details>") == 3
    assert section.count('<th scope="row">') == 30


def test_of_very_many_classes_the_weakest_are_listed() -> None:
    run = many_classes(page.MOST_CLASSES + 10)
    section = page.html(run, {}).split('id="metrics"')[1].split("</section>")[0]
    assert section.count('<th scope="row">') == 2 * page.MOST_CLASSES
    assert f"The {page.MOST_CLASSES} weakest of {page.MOST_CLASSES + 10} classes" in section


@pytest.mark.parametrize("make", [unverified, one_model])
def test_nothing_is_compared_without_a_baseline(make: Callable[[], Report]) -> None:
    text = page.html(make(), {})
    assert 'id="against"' not in text
    assert 'id="metrics"' not in text
    assert "McNemar" not in markdown.render(make())


def test_markdown_compares_with_the_baseline() -> None:
    text = markdown.render(sample())
    assert "| small | 0.28 | −0.82 to 1.68 | 3 | 2 | 0.38 | 8: 3 of 36 lost |" in text


def test_no_class_that_loses_is_a_dash_with_its_reason() -> None:
    models = (sample().models[0], model("small", 31_949, 0.98, paired=paired(0, 2)))
    row = phrases.against(sample(models=models))["small"]
    assert row["worst"] == (units.DASH, "no class lost more than it gained")
    assert row["drop"].text == "−0.56"


@pytest.mark.parametrize(("p", "text"), [(1.0, "1"), (0.0312, "0.031"), (0.00012, "< 0.001"), (None, "–")])
def test_a_p_value_is_written_shortly(p: float | None, text: str) -> None:
    assert units.chance(p) == text
