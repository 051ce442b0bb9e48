"""The check `metric`: limits on any metric of the task."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.core.errors import Fault, PlacedFault, did_you_mean
from pipeline.data.tasks.task import Task
from pipeline.verify.checks.check import Check, Unit
from pipeline.verify.checks.confidence import at, beside, ends, within
from pipeline.verify.model_facts import CheckResult, ModelFacts
from pipeline.verify.scoring import metrics
from pipeline.verify.scoring.metrics import METRICS, MetricName


class Metric(Check):
    """One metric on the whole test split. Shares such as f1_macro are fractions; log_loss is in nats."""

    outputs = True

    check: Literal["metric"]
    metric: MetricName
    """Name of the metric. Regression has mae, rmse and r2, anomaly detection has auc and pauc, and classification
    has all others."""
    min: float | None = None
    """Minimum value."""
    max: float | None = None
    """Maximum value."""
    max_drop: Annotated[float, Field(ge=0)] | None = None
    """Maximum drop below the baseline. For log_loss, ece, mae and rmse, where lower is better, the maximum rise."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] | None = None
    """Confidence level for max_drop, such as 0.95, as of the check `accuracy`. It is for the task's main metric, of
    which the interval is measured. When left out, the measured drop alone decides."""

    @model_validator(mode="after")
    def _promises_something(self) -> "Metric":
        if self.min is None and self.max is None and self.max_drop is None:
            raise ValueError("give min, max, max_drop or several of them")
        if self.confidence is not None and self.max_drop is None:
            raise ValueError("confidence: is for max_drop, which is not given")
        return self

    def unfit(self, task: Task) -> Iterator[PlacedFault]:
        names = metrics.of(task.name)
        if self.metric not in names:
            do = did_you_mean(self.metric, names)
            yield ("metric",), Fault(f"is not a metric of {task.name}", received=self.metric, do=do)
        elif self.confidence is not None and self.metric != task.main:
            rule = f"is for {task.main}, the main metric of {task.name}, of which the interval is measured"
            yield ("confidence",), Fault(rule, received=self.metric, do="leave it out")

    @property
    def needs_baseline(self) -> str:
        return "max_drop" if self.max_drop is not None else ""

    def judge(self, model: ModelFacts, baseline: ModelFacts | None) -> Iterator[CheckResult]:
        name, value = self.metric, model.metrics.get(self.metric)
        unit, difference = _units(name)
        missing = model.missing.get(name, f"no {name} was measured")
        if self.min is not None:
            yield self.result(model, name, value, "at least", self.min, unit, missing)
        if self.max is not None:
            yield self.result(model, name, value, "at most", self.max, unit, missing)
        paired = model.paired if model.paired and model.paired.metric == name else None
        if self.max_drop is not None and self.confidence is not None and paired:
            yield within(self.check, model.name, at(paired, self.confidence), self.max_drop)
        elif self.max_drop is not None:
            what = f"{METRICS[name].change} of {name}"
            result = self.result(model, what, self._worse(model), "at most", self.max_drop, difference, missing)
            yield beside(result, ends(paired)) if paired else result

    def _worse(self, model: ModelFacts) -> float | None:
        """How much worse the metric is than the baseline's; None when it was not measured on both."""
        if model.baseline and self.metric in model.metrics:
            return 0.0
        drop = model.drop.get(self.metric)
        if drop is None:
            return None
        return round(-drop if METRICS[self.metric].lower_is_better else drop, 12)  # in float, 0.98 - 0.97 > 0.01


def _units(name: str) -> tuple[Unit, Unit]:
    """Units of the metric's values and of their differences."""
    return ("fraction", "points") if METRICS[name].share else ("text", "text")
