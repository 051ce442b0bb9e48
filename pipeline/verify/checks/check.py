"""What a check is."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import Field

from pipeline.core.errors import Fault, PlacedFault
from pipeline.core.family import Chosen
from pipeline.core.settings import Settings
from pipeline.data.tasks.task import Task
from pipeline.verify.model_facts import CheckResult, ModelFacts

Unit = Literal["fraction", "points", "bytes", "count", "text"]


class Check(Settings):
    """A promise about a .tflite file. `judge` decides from measured facts alone and imports no TensorFlow."""

    decisions: ClassVar[bool] = False  # whether it is about decisions, and so for classifiers alone

    of: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] | None = None
    """Names of the models that this check is for; all that verify names when left out."""

    @property
    def needs_baseline(self) -> str:
        """The setting that can't be judged without a baseline; "" when there is none."""
        return ""

    @property
    def npu(self) -> tuple[str, str | None, str | None] | None:
        """What it needs of Vela: accelerator, system configuration and memory mode; None for most checks."""
        return None

    def unfit(self, task: Task) -> Iterator[PlacedFault]:
        """The settings that are not for such a task: the place of each below this check, and what is wrong."""
        if self.decisions and not task.decides:
            do = f"use {{check: metric, metric: {task.main}}} with min, max or max_drop"
            yield ("check",), Fault(f"{self.kind} is for classifiers", received=f"data for {task.name}", do=do)

    @abstractmethod
    def judge(self, model: ModelFacts, baseline: ModelFacts | None) -> Iterator[CheckResult]:
        """A result for each promise: pass or fail with the value and the limit, or unavailable with the reason."""

    def result(
        self,
        model: ModelFacts,
        what: str,
        value: float | None,
        bound: Literal["at least", "at most"],
        limit: float,
        unit: Unit,
        missing: str = "",
        why: str = "",
    ) -> CheckResult:
        """Compare a measured value with its limit; without a value the result is unavailable because of `missing`."""
        if value is None:
            return CheckResult(
                check=self.kind, model=model.name, status="unavailable", what=what, bound=bound, limit=limit, unit=unit,
                why=missing,
            )  # fmt: skip
        held = value >= limit if bound == "at least" else value <= limit
        return CheckResult(
            check=self.kind, model=model.name, status="pass" if held else "fail", what=what, value=value, bound=bound,
            limit=limit, unit=unit, why=why,
        )  # fmt: skip

    def none_of(self, model: ModelFacts, what: str, found: Sequence[str]) -> CheckResult:
        """Pass when nothing was found; otherwise fail with the number, and name the first."""
        more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
        return CheckResult(
            check=self.kind,
            model=model.name,
            status="fail" if found else "pass",
            what=what,
            value=len(found),
            bound="at most",
            limit=0,
            unit="count",
            why="; ".join(found[:3]) + more,
        )


CHECKS: Chosen[Check] = Chosen("CHECKS", "check")
AnyCheck: TypeAlias = Annotated[Check, CHECKS]
