"""Derive a report again from the files of its run folder, and list where the folder's own report differs."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.audit.run_folder import Folder, Mismatch
from pipeline.core.errors import InputError
from pipeline.data.tasks.task import TASKS
from pipeline.report.decisions import Decisions
from pipeline.report.document import Report
from pipeline.stages.touched import share_of_zeros
from pipeline.verify import measurement
from pipeline.verify.model_facts import Breach, CheckResult, ModelFacts, RuntimeFacts
from pipeline.verify.scoring import classification

MOST_LINES = 5  # mismatches listed for one field of one model
LONGEST = 90  # characters of a value in a mismatch
OF_ANY_FILE = {"name", "file", "sha256", "bytes", "gzip_bytes", "calibration"}  # fields of models without verification

Fresh = Mapping[str, Mapping[str, Any]]  # model -> its fields as derived or measured now


def read(folder: Folder) -> tuple[dict[str, dict[str, Any]], list[Mismatch]]:
    """Read the fields of each intact model from its file. Also returns a mismatch for each invalid file."""
    fresh, wrong = {}, []
    for model in folder.intact:
        try:
            fresh[model.name] = _fields(folder.path / model.file, model)
        except InputError as error:
            rule = error.faults[0].rule
            wrong.append(Mismatch(file=model.file, what="content", expected="a .tflite file", received=rule))
    return fresh, wrong


def _fields(path: Path, model: ModelFacts) -> dict[str, Any]:
    facts = measurement.read(model.name, path)
    known = tuple(name for name in model.pruned if name in facts.sparsity)
    found = {field: getattr(facts, field) for field in facts.model_fields_set - {"verified"}}
    found |= {"pruned": known, "pruned_sparsity": share_of_zeros(facts.kernels, known)}
    return found | {"rules": _rules(facts.rules, model.rules)}


def _rules(read: Sequence[Breach] | None, given: Sequence[Breach] | None) -> tuple[Breach, ...] | None:
    """The breaches that a file shows, with those of the report that only its data show: R16 of inputs, at the end."""
    if read is None or given is None:
        return None if read is None else tuple(read)
    return (*read, *(breach for breach in given[len(read) :] if breach.rule == "R16" and not breach.op))


def named_mismatches(folder: Folder) -> Iterator[Mismatch]:
    """Yield models and steps of the report that differ from its config. Nothing can be derived for such a report."""
    stages = folder.config.stages
    models = [stage.label for stage in stages if stage.gives == "tflite"]
    for name in sorted({name for stage in folder.verifies for name in stage.reads()} - set(models)):
        yield Mismatch(file="report.json", what="config.stages", expected="names of models", received=name)
    for what, expected, received in (
        ("models", models, [model.name for model in folder.report.models]),
        ("steps", [stage.label for stage in stages], [step.name for step in folder.report.steps]),
    ):
        if expected != received:
            listed, there = ", ".join(expected), ", ".join(received) or "none"
            yield Mismatch(file="report.json", what=what, expected=listed, received=there)


def decision_mismatches(folder: Folder, found: Decisions, where: str) -> Iterator[Mismatch]:
    """Yield what in the decisions does not match the report's models or test split."""
    test = folder.report.data.splits.get("test")
    expected = {name for stage in folder.verifies for name in stage.reads()}
    classes = len(folder.report.data.labels)
    for what, wanted, got in (
        ("models", sorted(expected), sorted({name.partition("@")[0] for name in found.models})),
        ("split", test and test.sha256, found.split),
        ("examples", test and test.examples, len(found.y)),
    ):
        if wanted != got:
            told, there = _pair(wanted, got)
            yield Mismatch(file=where, what=what, expected=told, received=there)
    if not TASKS[folder.report.data.task].decides:
        return
    for name, decided in {"y": found.y, **found.models}.items():
        if decided.dtype != np.int64 or decided.ndim > 1:
            yield Mismatch(file=where, what=name, expected="whole numbers (N,)", received=str(decided.dtype))
        elif len(decided) and not 0 <= decided.min() <= decided.max() < classes:
            received = f"{decided.min()} to {decided.max()}"
            yield Mismatch(file=where, what=name, expected=f"classes 0 to {classes - 1}", received=received)


def several_verify(folder: Folder) -> bool:
    """Whether two verify stages list the same model; the report then has the figures of the last stage only."""
    names = [name for stage in folder.verifies for name in stage.reads()]
    return len(set(names)) < len(names)


def report(folder: Folder, fresh: Fresh, found: Decisions | None) -> Report:
    """The report, with all parts replaced that follow from the config, the fresh fields and the decisions."""
    given, stages = folder.report, folder.stated_config.stages
    models = {model.name: _model(folder, model, fresh.get(model.name, {}), found) for model in given.models}
    checks: list[CheckResult] = []
    for stage in folder.verifies if not several_verify(folder) else ():
        measured = tuple(models[name] for name in stage.reads())
        if found:
            bare = [facts.model_copy(update={"baseline": False, "paired": None, "drop": {}}) for facts in measured]
            measured = stage.compared(bare, found.y, found.models)
        models |= {facts.name: facts for facts in measured}
        checks += stage.judged(measured)
    results = given.checks if several_verify(folder) else tuple(checks)
    steps = [
        step.model_copy(update={"name": s.label, "stage": s.kind, "settings": s.settings()})
        for step, s in zip(given.steps, stages, strict=True)
    ]
    return given.model_copy(
        update={
            "name": folder.stated_config.name,
            "status": "fail" if any(check.status != "pass" for check in results) else "pass",
            "config": folder.stated_config.settings(),
            "steps": tuple(steps),
            "models": tuple(models.values()),
            "checks": results,
        }
    )


def _model(folder: Folder, model: ModelFacts, fresh: Mapping[str, Any], found: Decisions | None) -> ModelFacts:
    if not any(model.name in stage.reads() for stage in folder.verifies):
        kept = {field: getattr(model, field) for field in OF_ANY_FILE}
        return ModelFacts(**kept | {f: v for f, v in fresh.items() if f in OF_ANY_FILE}, verified=False)
    update: dict[str, Any] = {"verified": True, "arena_bytes": model.arena.total if model.arena else None}
    if found and "metrics" not in fresh and TASKS[folder.report.data.task].decides:
        update |= _decided(model, found, folder.report.data.labels)
    return model.model_copy(update={**update, **fresh})


def _decided(model: ModelFacts, found: Decisions, labels: Sequence[str]) -> dict[str, Any]:
    """The fields that follow from the decisions alone."""
    decided = classification.decisions(found.models[model.name], found.y, labels)
    return {
        "examples": len(found.y),
        "split_sha256": found.split,
        "metrics": model.metrics | decided.metrics,
        "per_class": decided.per_class,
        "confusion": decided.confusion,
        "runtimes": tuple(_of_runtime(model, facts, found, labels) for facts in model.runtimes),
    }


def _of_runtime(model: ModelFacts, facts: RuntimeFacts, found: Decisions, labels: Sequence[str]) -> RuntimeFacts:
    """The row of a runtime with what follows from its decisions, where they are kept."""
    decided = found.models.get(model.name if facts.base else f"{model.name}@{facts.runtime}")
    if decided is None:
        return facts
    metrics = classification.decisions(decided, found.y[: len(decided)], labels).metrics
    same = {"accuracy": metrics["accuracy"], "score": metrics["accuracy"], "examples": len(decided)}
    return facts.model_copy(update={**same, "metrics": facts.metrics | metrics})


def differences(expected: Report, received: Report) -> Iterator[Mismatch]:
    """Yield the differences between two reports, with at most MOST_LINES lines for each field."""
    found = _leaves(_plain(expected), _plain(received), ())
    for field, leaves in groupby(found, key=lambda leaf: leaf[0][:3]):
        for place, wanted, got in islice(leaves, MOST_LINES):
            told, there = _pair(wanted, got)
            yield Mismatch(file="report.json", what=".".join(place), expected=told, received=there)
        if more := sum(1 for _ in leaves):
            what = f"{'.'.join(field)}, {more} more"
            yield Mismatch(file="report.json", what=what, expected="the same", received="others")


def _plain(report: Report) -> Any:
    """The report as JSON has it, in which NaN equals NaN."""
    return json.loads(report.model_dump_json())


def _leaves(expected: Any, received: Any, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Yield (path, expected, received) of all values that differ."""
    if isinstance(expected, dict) and isinstance(received, dict):
        for key in dict.fromkeys((*expected, *received)):
            yield from _leaves(expected.get(key), received.get(key), (*place, key))
    elif isinstance(expected, list) and isinstance(received, list) and len(expected) == len(received):
        for i, (wanted, got) in enumerate(zip(expected, received, strict=True)):
            name = wanted.get("name", i) if isinstance(wanted, dict) and len(place) < 2 else i
            yield from _leaves(wanted, got, (*place, str(name)))
    elif not _same(expected, received):
        yield place, expected, received


def _same(expected: Any, received: Any) -> bool:
    """Whether two values are equal, numbers in twelve digits: the last ones depend on the CPU and on libraries."""
    if isinstance(expected, float) and isinstance(received, float):
        return math.isclose(expected, received, rel_tol=1e-12, abs_tol=1e-15)
    return bool(expected == received)


def pair(expected: str, received: str) -> tuple[str, str]:
    """Two texts as excerpts of at most LONGEST characters, from a little before the first place where they differ."""
    if max(len(expected), len(received)) <= LONGEST:
        return expected, received
    differ = (i for i, (a, b) in enumerate(zip(expected, received, strict=False)) if a != b)
    start = max(0, next(differ, min(len(expected), len(received))) - LONGEST // 3)
    return _excerpt(expected, start), _excerpt(received, start)


def _excerpt(text: str, start: int) -> str:
    end = start + LONGEST
    return f"{'...' * (start > 0)}{text[start:end]}{'...' * (end < len(text))}"


def _pair(expected: Any, received: Any) -> tuple[str, str]:
    return pair(*(f"{len(v)} values" if isinstance(v, list) and len(v) > 8 else str(v) for v in (expected, received)))
