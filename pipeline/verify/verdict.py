"""Checks about outputs are judged on the runtime that counts: the same file decides otherwise on other kernels."""

from collections.abc import Iterator
from typing import Any

from pipeline.core import units
from pipeline.verify.checks.check import Check
from pipeline.verify.model_facts import CheckResult, ModelFacts, RuntimeFacts
from pipeline.verify.runtimes.runtime import RUNTIMES

OF_TARGET = {"tflm": "tflm", "litert": "xnnpack"}  # runtime of a target -> the name of the runtime that stands for it
_WORSE = {"pass": 0, "unavailable": 1, "fail": 2}


def judge(check: Check, model: ModelFacts, base: ModelFacts | None, runtime: str | None) -> Iterator[CheckResult]:
    """Judge a model by a check.

    runtime: the name of the runtime on which a check about outputs is judged. None takes the worst of all runtimes that
    ran the whole test split.
    """
    rows = [row for row in model.runtimes if _counts(row, model, runtime)]
    if not check.outputs or (not rows and runtime is None):
        yield from check.judge(model, base)
        return
    if not rows and runtime is not None:
        why = next((row.unavailable for row in model.runtimes if row.runtime == runtime), "") or "not measured there"
        missing = {"status": "unavailable", "value": None, "interval": None, "why": f"{title(runtime)}: {why}"}
        missing["runtime"] = runtime
        yield from (result.model_copy(update=missing) for result in check.judge(model, base))
        return
    results = [[_on(result, row, model) for result in check.judge(on(model, row), base)] for row in rows]
    yield from (max(same, key=_badness) for same in zip(*results, strict=True))


def _counts(row: RuntimeFacts, model: ModelFacts, runtime: str | None) -> bool:
    measured = bool(row.metrics) and not row.unavailable
    return measured and (row.runtime == runtime if runtime else row.examples == model.examples)


def on(model: ModelFacts, row: RuntimeFacts) -> ModelFacts:
    """The facts with the figures of a runtime in the place of the base runtime's."""
    if row.base:
        return model
    update: dict[str, Any] = {"metrics": row.metrics, "examples": row.examples, "paired": row.paired, "drop": row.drop}
    if model.error:
        update["error"] = model.error.model_copy(update={"agreement": model.error.runtimes.get(row.runtime)})
    return model.model_copy(update=update)


def _on(result: CheckResult, row: RuntimeFacts, model: ModelFacts) -> CheckResult:
    """The result with its runtime named, in words too where that is not the base runtime."""
    update: dict[str, Any] = {"runtime": row.runtime}
    if not row.base:
        update["what"] = f"{result.what} on {title(row.runtime)}"
    if model.examples and row.examples < model.examples:
        part = f"the first {units.whole(row.examples)} of {units.whole(model.examples)} test examples"
        update["why"] = f"{result.why}; {part}" if result.why else part
    return result.model_copy(update=update)


def _badness(result: CheckResult) -> tuple[int, float]:
    """For comparing results of one promise: a fail is worst; then the value that is farther to the wrong side."""
    value = float(result.value) if isinstance(result.value, int | float) else 0.0
    return _WORSE[result.status], -value if result.bound == "at least" else value


def finite(model: ModelFacts) -> Iterator[CheckResult]:
    """Yield a failed check for a model that gives NaN or infinity on any runtime; nothing for other models."""
    rows = [*model.runtimes, *(row for answer in model.answers for row in answer.runtimes)]
    for row in [row for row in rows if row.not_finite][:1]:
        yield CheckResult(
            check="finite", model=model.name, status="fail", what="finite outputs", value="no", limit="yes",
            why=f"{title(row.runtime)}: {row.not_finite}", runtime=row.runtime,
        )  # fmt: skip


def title(runtime: str) -> str:
    """A runtime's name for people; a report of another edgepipe can have one that is not here."""
    return RUNTIMES[runtime].title if runtime in RUNTIMES else runtime
