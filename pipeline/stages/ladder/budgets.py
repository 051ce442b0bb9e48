"""What a file may cost, and whether it keeps to that."""

from collections.abc import Iterator, Sequence
from math import ceil, inf
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from pipeline.core import units
from pipeline.core.errors import Fault, PlacedFault
from pipeline.core.settings import Settings
from pipeline.data.tasks.task import Task
from pipeline.verify.checks.arena import Arena
from pipeline.verify.checks.check import Check
from pipeline.verify.checks.confidence import within
from pipeline.verify.checks.macs import Macs
from pipeline.verify.checks.size import Size
from pipeline.verify.model_facts import CheckResult, ModelFacts, Paired
from pipeline.verify.scoring import statistics
from pipeline.verify.scoring.metrics import METRICS

if TYPE_CHECKING:
    from pipeline.verify.targets import Target


class Budgets(Settings):
    """Limits for the file. At least one is needed; each that is given must be kept."""

    max_drop: Annotated[float, Field(ge=0)] | None = None
    """How much worse the task's main metric may be than the float32 file's, with `confidence`: of accuracy 0.01 is one
    point, of an MAE it is in the unit of y."""
    max_bytes: PositiveInt | None = None
    """Most bytes of the file; the target's flash when left out."""
    max_arena: PositiveInt | None = None
    """Most bytes of the smallest arena that works on TensorFlow Lite Micro; the target's RAM when left out."""
    max_macs: PositiveInt | None = None
    """Most multiply-accumulates of the file's ops."""
    max_latency_ratio: PositiveFloat | None = None
    """Most time of an inference on this machine, as a share of the float32 file's. That is measured, in turns with the
    float32 file, so another machine can decide otherwise."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """How sure it must be: the whole confidence interval of the drop is within max_drop, and this share of the measured
    times within max_latency_ratio."""

    @model_validator(mode="after")
    def _limits_something(self) -> "Budgets":
        if not any(getattr(self, name) is not None for name in Budgets.model_fields if name != "confidence"):
            names = ", ".join(name for name in Budgets.model_fields if name != "confidence")
            raise ValueError(f"needs at least one budget: {names}")
        return self

    def misfits(self, task: Task) -> Iterator[PlacedFault]:
        """The budgets that can't be judged for such a task."""
        if self.max_drop is not None and "validation" in task.unlabelled:
            rule = f"can't be measured for {task.name} detection: the validation split holds normal examples alone"
            yield ("max_drop",), Fault(rule, received=str(self.max_drop), do="give other budgets")
        elif self.max_drop is not None and self.max_drop >= 1 and task.decides:
            yield ("max_drop",), Fault("must be less than 1, which is all of the accuracy", received=str(self.max_drop))

    def from_target(self, target: "Target") -> dict[str, int]:
        """The budgets that are left out and that a target gives."""
        found: dict[str, int] = {}
        for check in target.checks():
            if isinstance(check, Size) and check.max_bytes and self.max_bytes is None:
                found["max_bytes"] = check.max_bytes
            if isinstance(check, Arena) and self.max_arena is None:
                found["max_arena"] = check.max_bytes
        return found

    def too_few(self, examples: int) -> Fault | None:
        """Why no file could be sure to keep max_drop on so many decisions, even if it decided as the float32 file."""
        if self.max_drop is None:
            return None
        high = statistics.interval(examples, 0, 0, self.confidence)[1]
        if high <= self.max_drop:
            return None
        drop, sure = f"{units.points(self.max_drop, sign=False)} points", f"{units.number(self.confidence * 100)} %"
        rule = f"a drop of {drop} can't be told with {sure} confidence, even if no decision changed"
        do = "raise max_drop"
        if self.max_drop:  # the interval is as wide as a few examples
            needed = units.whole(ceil(examples * high / self.max_drop))
            do = f"needs about {needed}: raise data.splits.validation, or raise max_drop or lower confidence"
        return Fault(rule, received=f"{units.whole(examples)} examples in the validation split", do=do)

    def judge(self, facts: ModelFacts, ratios: Sequence[float]) -> tuple[CheckResult, ...]:
        """Each budget with what was measured. ratios: times over the float32 file's."""
        return (*self._drop(facts), *self._sizes(facts), *self._latency(facts, ratios))

    def _drop(self, facts: ModelFacts) -> Iterator[CheckResult]:
        if self.max_drop is None:
            return
        if facts.paired is None:
            yield CheckResult(
                check="drop", model=facts.name, status="unavailable", what="drop", bound="at most",
                limit=self.max_drop, why="the outputs are not finite",
            )  # fmt: skip
        else:
            yield within("drop", facts.name, facts.paired, self.max_drop)

    def _sizes(self, facts: ModelFacts) -> Iterator[CheckResult]:
        checks: list[Check] = []
        if self.max_bytes:
            checks.append(Size(check="size", max_bytes=self.max_bytes))
        if self.max_arena:
            checks.append(Arena(check="arena", max_bytes=self.max_arena))
        if self.max_macs:
            checks.append(Macs(check="macs", max=self.max_macs))
        yield from (result for check in checks for result in check.judge(facts, None))

    def _latency(self, facts: ModelFacts, ratios: Sequence[float]) -> Iterator[CheckResult]:
        if self.max_latency_ratio is None:
            return
        value = float(np.quantile(ratios, self.confidence))
        share = f"{units.number(self.confidence * 100)} % of {len(ratios)} measured turns are below"
        yield CheckResult(
            check="latency", model=facts.name, status="pass" if value <= self.max_latency_ratio else "fail",
            what="time on this machine against float32", value=value, bound="at most", limit=self.max_latency_ratio,
            unit="fraction", why=share,
        )  # fmt: skip


def excess(result: CheckResult, paired: Paired | None) -> float:
    """How far beyond its limit a result is, as a share of the limit; 0 for one that is kept.

    paired: what a drop was judged by; the worse end of its interval counts.
    """
    if result.status == "pass":
        return 0.0
    if result.check == "drop" and paired is not None:
        worst, limit = -paired.low if METRICS[paired.metric].lower_is_better else paired.high, float(result.limit or 0)
        return (worst - limit) / max(limit, 1 / paired.n)
    if isinstance(result.value, float | int) and isinstance(result.limit, float | int):
        return result.value / result.limit - 1
    return inf
