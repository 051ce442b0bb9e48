"""The base class of all checks.

Example of a new check, which also needs a line in `CHECKS` of the registry::

    class Parameters(Check):
        \"""Number of parameters in the file.\"""

        check: Literal["parameters"]
        max: PositiveInt
        \"""Maximum number of parameters.\"""

        def judge(self, model, baseline):
            yield self.result(model, "parameters", model.parameters, "at most", self.max, "count", "not counted")
"""

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
    """A requirement on a .tflite file. `judge` decides from measured facts alone and does not import TensorFlow."""

    outputs: ClassVar[bool] = False  # whether it is about how good outputs are, which depends on the runtime
    decisions: ClassVar[bool] = False  # whether the check is about decisions, which only classifiers make

    of: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] | None = None
    """Names of the models to check. Default: all models of the verify stage."""

    @property
    def needs_baseline(self) -> str:
        """Name of the setting that needs a baseline; "" when none does."""
        return ""

    @property
    def npu(self) -> tuple[str, str | None, str | None] | None:
        """Vela options that the check needs (accelerator, system configuration, memory mode), or None."""
        return None

    def unfit(self, task: Task) -> Iterator[PlacedFault]:
        """Yield a fault for each setting that does not fit the task, with the setting's path inside this check."""
        if self.decisions and not task.decides:
            do = f"use {{check: metric, metric: {task.main}}} with min, max or max_drop"
            yield ("check",), Fault(f"{self.kind} is for classifiers", received=f"data for {task.name}", do=do)

    @abstractmethod
    def judge(self, model: ModelFacts, baseline: ModelFacts | None) -> Iterator[CheckResult]:
        """Yield a result for each requirement: pass or fail with value and limit, or unavailable with the reason."""

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
        """Compare a value with its limit. Without a value the result is `unavailable` and `missing` is the reason."""
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

    def none_of(self, model: ModelFacts, what: str, found: Sequence[str], do: str = "") -> CheckResult:
        """Pass when `found` is empty; otherwise fail with its length, name the first three, and say what to do."""
        more = (f"; and {len(found) - 3} more" if len(found) > 3 else "") + (f"; {do}" if found and do else "")
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
