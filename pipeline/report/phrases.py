"""Texts that the page, Markdown and the terminal share: the headline, and the figures of models and checks as text.

Imports no large library, so that a fully cached run is rendered in a fraction of a second.
"""

from math import isfinite
from typing import NamedTuple

from pipeline.core import units
from pipeline.data.tasks.task import TASKS
from pipeline.report import certainty
from pipeline.report.document import Report, StepFacts
from pipeline.verify.model_facts import ArenaFacts, CheckResult, ClassDrop, ModelFacts, Paired
from pipeline.verify.runtimes.runtime import RUNTIMES
from pipeline.verify.scoring.metrics import METRICS

MARKS = {"pass": "✓", "fail": "✗", "unavailable": "?"}  # always shown next to the word

VERDICTS = {"pass": "Pass", "fail": "Fail", "unavailable": "Not checked"}


class Cell(NamedTuple):
    """A figure as text. why: the reason when it is a dash, or a remark about the figure."""

    text: str
    why: str = ""


class LeftOut(NamedTuple):
    """A layer that a stage did not touch."""

    step: str
    layer: str
    kind: str
    why: str


def state(report: Report) -> str:
    """The outcome: pass or fail; unavailable when no check ran."""
    return "unavailable" if report.status == "pass" and not report.checks else report.status


def headline(report: Report) -> str:
    """The run in one sentence: the models that pass or fail, then the figures of the last of them."""
    names, verdict = _verdict(report)
    if not names:
        return verdict
    told = next((model for model in report.models if model.name == names[-1]), None)
    facts = _facts(report, told) if told else ""
    of = f"{names[-1]} has " if len(names) > 1 else ""
    return f"{_listed(names)} {verdict}" + (f": {of}{facts}" if facts else "")


def lead(report: Report) -> ModelFacts | None:
    """The model that the headline tells of; without checks the last one that is no baseline. None without models."""
    names, _ = _verdict(report)
    told = [model for model in report.models if model.name in names[-1:]]
    return next(reversed(told or [model for model in report.models if not model.baseline] or [*report.models]), None)


def _verdict(report: Report) -> tuple[list[str], str]:
    """The models that decide the outcome, in the order of the checks, and the text about them."""
    for status in ("fail", "unavailable"):
        names = list(dict.fromkeys(check.model for check in report.checks if check.status == status))
        if names:
            return names, _short_of(status, [check for check in report.checks if check.model in names])
    if not report.checks:
        done = "made" if report.steps else "measured"
        return [], f"No check ran: {_files(len(report.models))} {done}, nothing about {_them(report)} is proved"
    names = list(dict.fromkeys(check.model for check in report.checks))
    count = len(report.checks)
    total = {1: "the one check", 2: "both checks"}.get(count, f"all {count} checks")
    return names, f"{'passes' if len(names) == 1 else 'pass'} {total}"


def _short_of(status: str, checks: list[CheckResult]) -> str:
    """Such as ``fails 1 of 5 checks (accuracy)``, or ``passes 4 of 5 checks, arena could not be measured``."""
    one = len({check.model for check in checks}) == 1
    hits = [check for check in checks if check.status == status]
    which = _listed(list(dict.fromkeys(map(promise, hits))))
    total = f"{len(checks)} check{'s' if len(checks) > 1 else ''}"
    if status == "fail":
        return f"{'fails' if one else 'fail'} {len(hits)} of {total} ({which})"
    return f"{'passes' if one else 'pass'} {len(checks) - len(hits)} of {total}, {which} could not be measured"


def _files(count: int) -> str:
    return f"{count} model was" if count == 1 else f"{count} models were"


def _them(report: Report) -> str:
    return "it" if len(report.models) == 1 else "them"


def _listed(names: list[str], most: int = 3) -> str:
    """A list as text, such as ``a, b and c``, or ``a, b and 4 more`` when there are more than `most`."""
    if len(names) > most:
        names = [*names[: most - 1], f"{len(names) - most + 1} more"]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _facts(report: Report, model: ModelFacts) -> str:
    """The measured figures, such as ``97.8 % on 360 test examples, 0.3 points under float, 31.2 KiB``."""
    name = metric(report)
    parts = []
    if name in model.metrics:
        what = "" if name == "accuracy" else f"{called(name)} "
        on = "" if model.examples is None else f" on {units.whole(model.examples)} test examples"
        parts.append(f"{what}{score(name, model.metrics[name])}{on}{certainty.of_model(name, model)}")
    if name in model.drop and not model.baseline:
        parts.append(_against(name, model.drop[name], baseline(report)))
    return ", ".join([*parts, units.size(model.bytes)])


def _against(name: str, drop: float, base: str) -> str:
    """Such as ``0.3 points under float``; with two decimals when one would round to zero."""
    if drop == 0:
        return f"level with {base}"
    side = "under" if drop > 0 else "over"
    if not is_share(name):
        return f"{units.number(abs(drop), 3)} {side} {base}"
    return f"{units.points(abs(drop), 1 if abs(drop) >= 0.0005 else 2, sign=False)} points {side} {base}"


def baseline(report: Report) -> str:
    """Name of the model that the others are compared with."""
    return next((model.name for model in report.models if model.baseline), "the baseline")


def metric(report: Report) -> str:
    """The main metric: that of the task or, if it was not measured, the first that was."""
    names, main = [name for model in report.models for name in model.metrics], TASKS[report.data.task].main
    return main if main in names or not names else names[0]


def decides(report: Report) -> bool:
    """Whether the models make decisions, which can flip."""
    return TASKS[report.data.task].decides


def learnt(report: Report) -> str:
    """The task and its labels as a sentence."""
    text = TASKS[report.data.task].described(report.data.labels)
    return f"{text[:1].upper()}{text[1:]}."


def called(name: str) -> str:
    """A metric's name for people."""
    return METRICS[name].title or name if name in METRICS else name


def is_share(name: str) -> bool:
    """Whether the metric is a fraction 0..1."""
    return METRICS[name].share if name in METRICS else name.endswith("accuracy")  # not a loss or decibels


def lower_is_better(name: str) -> bool:
    """Whether a lower value of the metric is better."""
    return METRICS[name].lower_is_better


def score(name: str, value: float | None) -> str:
    """A metric's value as text: fractions in percent, others as plain numbers."""
    return units.percent(value) if is_share(name) else units.number(value)


def figures(report: Report, model: ModelFacts) -> dict[str, Cell]:
    """One row of the models table: score, change, size, gzip, sparsity, integer, latency, macs, parameters, arena."""
    name = metric(report)
    return {
        "score": _cell(report, model, name, score(name, model.metrics.get(name))),
        "change": _change(report, model, name),
        "size": Cell(units.size(model.bytes), f"{units.whole(model.bytes)} bytes"),
        "gzip": Cell(units.size(model.gzip_bytes), f"{units.whole(model.gzip_bytes)} bytes"),
        "sparsity": _cell(report, model, "share of zeros", units.percent(sparsity(model))),
        "integer": _cell(report, model, "integer_only", _yes(model.integer_only)),
        "latency": _latency(report, model),
        "macs": _cell(report, model, "macs", units.count(model.macs)),
        "parameters": _cell(report, model, "parameters", units.count(model.parameters)),
        "arena": _arena(report, model),
    }


def against(report: Report) -> dict[str, dict[str, Cell]]:
    """A row for each model that was compared with the baseline: drop, interval and, with decisions, lost, gained, p,
    worst."""
    return {model.name: against_row(model.paired) for model in report.models if model.paired}


def against_row(paired: Paired) -> dict[str, Cell]:
    """One model's row of `against`."""
    worst = paired.worst
    drop, low, high = (_worse(paired, end) for end in (paired.drop, paired.low, paired.high))
    if METRICS[paired.metric].lower_is_better:
        low, high = high, low
    row = {"drop": Cell(drop), "interval": Cell(f"{low} to {high}")}
    if paired.lost is None:
        return row
    return row | {
        "lost": Cell(units.whole(paired.lost)),
        "gained": Cell(units.whole(paired.gained)),
        "p": Cell(units.chance(paired.mcnemar_p)),
        "worst": Cell(_class_drop(worst)) if worst else Cell(units.DASH, "no class lost more than it gained"),
    }


def _worse(paired: Paired, drop: float) -> str:
    """A drop as text: a decrease in points or, when lower is better, an increase in the metric's unit."""
    if is_share(paired.metric):
        return units.points(drop, sign=False)
    return units.number(-drop if METRICS[paired.metric].lower_is_better else drop, 3)


def worse(report: Report) -> str:
    """Column head for `_worse`, such as ``drop of accuracy``."""
    paired = next(model.paired for model in report.models if model.paired)
    return f"{METRICS[paired.metric].change} of {called(paired.metric)}"


def _class_drop(worst: ClassDrop) -> str:
    """Such as ``8: 3 of 35 lost, 1 gained``."""
    gained = f", {units.whole(worst.gained)} gained" if worst.gained else ""
    return f"{worst.label}: {units.whole(worst.lost)} of {units.whole(worst.examples)} lost{gained}"


def compared(report: Report) -> str:
    """An explanation of the comparison with the baseline, for new readers; "" when there is no comparison."""
    paired = next((model.paired for model in report.models if model.paired), None)
    if paired is None:
        return ""
    lies = (
        f"The interval is where the {worse(report).split()[0]} over all examples of the same kind lies, with "
        f"{confidence(report)} confidence"
    )
    if paired.lost is None:
        return f"On the same {units.whole(paired.n)} test examples. {lies} (bootstrap)."
    return (
        f"On the same {units.whole(paired.n)} test examples. Lost is what {baseline(report)} gets right and the model "
        f"wrong, gained the reverse. {lies}; p is how likely chance alone makes such a difference (McNemar's exact "
        "test)."
    )


def confidence(report: Report) -> str:
    """Confidence level of the intervals, such as ``95 %``."""
    paired = next(model.paired for model in report.models if model.paired)
    return f"{units.number(paired.confidence * 100)} %"


def front(report: Report) -> set[str]:
    """Names of the models on the Pareto front: no other model is as small and as good, and better in one of both."""
    name = metric(report)
    sign = -1 if METRICS[name].lower_is_better else 1
    scored = {each.name: (-each.bytes, sign * each.metrics[name]) for each in report.models if name in each.metrics}
    return {
        one
        for one, (size, value) in scored.items()
        if isfinite(value) and not any(a >= size and b >= value and (a, b) != (size, value) for a, b in scored.values())
    }


def worst_class(model: ModelFacts) -> str:
    """Such as ``lowest recall 91.4 %, of class 8``; "" without classes."""
    known = [(facts.recall, facts.label) for facts in model.per_class if facts.recall is not None]
    if not known:
        return ""
    recall, label = min(known, key=lambda pair: pair[0])
    return f"lowest recall {units.percent(recall)}" + (f", of class {label}" if recall < 1 else "")


def _cell(report: Report, model: ModelFacts, field: str, text: str) -> Cell:
    return Cell(text, _why_missing(report, model, field) if text == units.DASH else "")


def _why_missing(report: Report, model: ModelFacts, field: str) -> str:
    """The reason why a figure is a dash: that of its check, or that it was not asked for."""
    said = (check.why for check in report.checks if check.model == model.name and check.check == field)
    if not model.verified:
        return f"not measured: no verify stage names {model.name}"
    return next(filter(None, said), f"not measured: verify gave no {field.replace('_', ' ')} for {model.name}")


def _change(report: Report, model: ModelFacts, name: str) -> Cell:
    """The metric of this model minus the baseline's, so that a loss is negative; in points for fractions."""
    if model.baseline:
        return Cell("baseline")
    drop = model.drop.get(name)
    if drop is None:
        return Cell(units.DASH, "not measured: there is no baseline to compare with" if model.verified else
                    _why_missing(report, model, name))  # fmt: skip
    return Cell(units.points(-drop) if is_share(name) else units.change(-drop))


def _latency(report: Report, model: ModelFacts) -> Cell:
    if any(row.base and row.runtime == "tflm" for row in model.runtimes):
        return Cell(
            units.DASH,
            "not measured: LiteRT can't run this file, and the time of TensorFlow Lite Micro here tells little",
        )
    if model.latency_ms is None:
        return _cell(report, model, "latency", units.DASH)
    took = model.latency_ms
    runs = f"median of {units.whole(took.runs)} runs on the {took.where}, not the device"
    return Cell(units.ms(took.p50), f"{runs}; 95 % are under {units.ms(took.p95)}")


def _arena(report: Report, model: ModelFacts) -> Cell:
    """The size to reserve: that of the smallest arena that works."""
    if model.arena is None:
        return Cell(units.DASH, model.arena_why if model.verified else _why_missing(report, model, "arena"))
    used, head, tail = map(units.size, (model.arena.total, model.arena.head, model.arena.tail))
    smallest = f"{units.whole(model.arena.smallest)} bytes are the smallest that works on TFLite Micro"
    return Cell(units.size(model.arena.smallest), f"{smallest}; used {used}, head {head} and tail {tail}")


def arena(report: Report) -> str:
    """The RAM that each model needs on a device, as a line; "" when it was not measured."""
    needs = [
        f"{model.name} {'does not run' if model.arena is None else _smallest(model.arena)}"
        for model in report.models
        if model.arena or model.arena_refused
    ]
    return f"Smallest arena on TFLite Micro: {', '.join(needs)}" if needs else ""


def _smallest(arena: ArenaFacts) -> str:
    at = " and ".join("x".join(map(str, shape)) for shape in arena.shapes)
    return units.size(arena.smallest) + (f" at the shape {at}" if at else "")


def _yes(value: bool | None) -> str:
    return units.DASH if value is None else "yes" if value else "no"


def sparsity(model: ModelFacts) -> float | None:
    """Share of zeros among all weights whose zeros were counted, weighted by the size of each tensor."""
    total = sum(kernel.weights for kernel in model.kernels.values())
    return sum(kernel.zeros for kernel in model.kernels.values()) / total if total else None


def measured(check: CheckResult) -> str:
    """A check's value in its unit, with more digits when rounding would hide the distance from the limit."""
    text = units.measure(check.value, check.unit)
    alike = check.value != check.limit and text == units.measure(check.limit, check.unit)
    return f"{text} ({units.number(check.value, 8)})" if alike and isinstance(check.value, (int, float)) else text


def limit(check: CheckResult) -> str:
    """A check's limit in its unit with its bound, such as ``at most 1.00 points``; just ``yes`` for `is`."""
    text = units.measure(check.limit, check.unit)
    return text if check.limit is None or check.bound == "is" else f"{check.bound} {text}"


def sentence(check: CheckResult) -> str:
    """A check result as one sentence, such as ``model 'small' on TFLite Micro: size must be ..., measured ...``."""
    on = f" on {RUNTIMES[check.runtime].title}" if check.runtime else ""
    found = f"measured {measured(check)}" if check.value is not None else "not measured"
    expected = f"{promise(check)} must be {limit(check)}" if check.limit is not None else promise(check)
    return f"model {check.model!r}{on}: {expected}, {found}{certainty.of_check(check)}"


def doubtful(report: Report) -> str:
    """The checks whose limit lies in the interval of the value, as a note; "" if there are none."""
    names = [
        f"{promise(check)} of {check.model}{certainty.of_check(check)}"
        for check in report.checks
        if check.interval
        and isinstance(check.limit, (int, float))
        and check.interval[0] < check.limit < check.interval[1]
    ]
    return f"the test split is too small to be sure of {_listed(names, 6)}" if names else ""


def promise(check: CheckResult) -> str:
    """The requirement of a check result in words; a check can have several."""
    return check.what or check.check


def line(text: str) -> str:
    """Text on one line without control characters, so that a name can't move the cursor or end a table row."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in " ".join(text.split()))


def left_out(steps: tuple[StepFacts, ...]) -> list[LeftOut]:
    """Layers that a stage could have changed but did not, in the order of the steps."""
    return [
        LeftOut(step.name, *(str(entry.get(key) or units.DASH) for key in ("layer", "kind", "why")))
        for step in steps
        for entry in step.layers
        if not entry.get("done", True)
    ]
