"""Any other figure of how good the file is."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.core.errors import Fault, PlacedFault, did_you_mean
from pipeline.data.tasks.task import Task
from pipeline.verify.checks.check import Check, Unit
from pipeline.verify.model_facts import CheckResult, ModelFacts
from pipeline.verify.scoring import metrics
from pipeline.verify.scoring.metrics import METRICS, MetricName


class Metric(Check):
    """One metric over the whole test split. Shares such as f1_macro are fractions; log_loss is in nats."""

    check: Literal["metric"]
    metric: MetricName
    """Which: classifiers have those up to ece, regression has mae, rmse and r2, anomaly detection auc and pauc."""
    min: float | None = None
    """Least value."""
    max: float | None = None
    """Most value."""
    max_drop: Annotated[float, Field(ge=0)] | None = None
    """How much worse than the baseline it may be: lower, or higher for log_loss, ece, mae and rmse."""

    @model_validator(mode="after")
    def _promises_something(self) -> "Metric":
        if self.min is None and self.max is None and self.max_drop is None:
            raise ValueError("give min, max, max_drop or several of them")
        return self

    def unfit(self, task: Task) -> Iterator[PlacedFault]:
        names = metrics.of(task.name)
        if self.metric not in names:
            do = did_you_mean(self.metric, names)
            yield ("metric",), Fault(f"is not a metric of {task.name}", received=self.metric, do=do)

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
        if self.max_drop is not None:
            what = f"{METRICS[name].change} of {name}"
            yield self.result(model, what, self._worse(model), "at most", self.max_drop, difference, missing)

    def _worse(self, model: ModelFacts) -> float | None:
        """How much worse than the baseline; None when it was not measured on both."""
        if model.baseline and self.metric in model.metrics:
            return 0.0
        drop = model.drop.get(self.metric)
        if drop is None:
            return None
        return round(-drop if METRICS[self.metric].lower_is_better else drop, 12)  # 0.98 - 0.97 is a little over 0.01


def _units(name: str) -> tuple[Unit, Unit]:
    """Of the metric's values and of their differences."""
    return ("fraction", "points") if METRICS[name].share else ("text", "text")
