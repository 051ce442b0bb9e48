"""The budgets of an auto stage, which limit the file, and their check against measurements."""

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
    """Limits for the file. Give at least one; the file must keep all that are given."""

    max_drop: Annotated[float, Field(ge=0)] | None = None
    """Largest drop of the task's main metric against the float32 file, in units of the metric: 0.01 is one percentage
    point of accuracy; for an MAE it is in units of y. The whole confidence interval of the drop must be within it."""
    max_bytes: PositiveInt | None = None
    """Largest size of the file, in bytes. Default: the target's flash."""
    max_arena: PositiveInt | None = None
    """Largest tensor arena that the file needs on TensorFlow Lite Micro, in bytes. Default: the target's RAM."""
    max_macs: PositiveInt | None = None
    """Largest number of multiply-accumulates of an inference."""
    max_latency_ratio: PositiveFloat | None = None
    """Largest latency on this machine, as a ratio to that of the float32 file; both are measured alternately. The
    result can differ on another machine."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """How sure it must be that the file that ships keeps `max_drop`, however many rungs are tried, and the share of
    measured latency ratios that must be within `max_latency_ratio`."""

    @model_validator(mode="after")
    def _limits_something(self) -> "Budgets":
        if not any(getattr(self, name) is not None for name in Budgets.model_fields if name != "confidence"):
            names = ", ".join(name for name in Budgets.model_fields if name != "confidence")
            raise ValueError(f"needs at least one budget: {names}")
        return self

    @property
    def each(self) -> float:
        """Confidence level at which the drop of a single file is judged."""
        return self.confidence

    def misfits(self, task: Task) -> Iterator[PlacedFault]:
        """Yield the budgets that can't be judged for this task."""
        if self.max_drop is not None and "validation" in task.unlabelled:
            rule = f"can't be measured for {task.name} detection: the validation split holds normal examples alone"
            yield ("max_drop",), Fault(rule, received=str(self.max_drop), do="give other budgets")
        elif self.max_drop is not None and self.max_drop >= 1 and task.decides:
            yield ("max_drop",), Fault("must be less than 1, which is all of the accuracy", received=str(self.max_drop))

    def from_target(self, target: "Target") -> dict[str, int]:
        """Budgets in bytes that were left out and that the target defines."""
        found: dict[str, int] = {}
        for check in target.checks():
            if isinstance(check, Size) and check.max_bytes and self.max_bytes is None:
                found["max_bytes"] = check.max_bytes
            if isinstance(check, Arena) and self.max_arena is None:
                found["max_arena"] = check.max_bytes
        return found

    def too_few(self, examples: int) -> Fault | None:
        """The fault if `examples` are too few to confirm `max_drop` with `confidence`, even if no decision changed."""
        if self.max_drop is None:
            return None
        high = statistics.interval(examples, 0, 0, self.each)[1]
        if high <= self.max_drop:
            return None
        drop, sure = f"{units.points(self.max_drop, sign=False)} points", f"{units.number(self.each * 100)} %"
        rule = f"a drop of {drop} can't be told with {sure} confidence, even if no decision changed"
        do = "raise max_drop"
        if self.max_drop:  # the interval's width is inversely proportional to the number of examples
            needed = units.whole(ceil(examples * high / self.max_drop))
            other = "raise max_drop, lower confidence or name fewer rungs"
            do = f"needs about {needed}: raise data.splits.validation, or {other}"
        return Fault(rule, received=f"{units.whole(examples)} examples in the validation split", do=do)

    def judge(self, facts: ModelFacts, ratios: Sequence[float]) -> tuple[CheckResult, ...]:
        """Compare each budget with what was measured. ratios: latencies divided by the float32 file's."""
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
    """How far a result exceeds its limit, as a share of the limit; 0 if it passes, infinite if it can't be compared.

    paired: the comparison with the float32 file that a drop was judged by; the worse end of its interval is used.
    """
    if result.status == "pass":
        return 0.0
    if result.check == "drop" and paired is not None:
        worst, limit = -paired.low if METRICS[paired.metric].lower_is_better else paired.high, float(result.limit or 0)
        return (worst - limit) / max(limit, 1 / paired.n)
    if isinstance(result.value, float | int) and isinstance(result.limit, float | int):
        return result.value / result.limit - 1
    return inf
