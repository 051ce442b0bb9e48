"""The table of all metrics, one row each. The module of each task's scoring computes them."""

from collections.abc import Mapping
from typing import Annotated, NamedTuple

from pipeline.core.family import NameOf


class Metric(NamedTuple):
    """One row of the table.

    name             name in configs and in `report.json`
    task             name of the task that the metric belongs to
    title            name for people; same as `name` when left out
    share            whether the value is a fraction 0..1, shown in percent and compared in percentage points; other
                     metrics have their own unit
    lower_is_better  whether a lower value is better
    """

    name: str
    task: str
    title: str = ""
    share: bool = True
    lower_is_better: bool = False

    @property
    def change(self) -> str:
        """The change that makes the metric worse: "drop", or "rise" when lower is better."""
        return "rise" if self.lower_is_better else "drop"


METRICS: Mapping[str, Metric] = {
    row.name: row
    for row in (
        Metric("accuracy", "classification"),
        Metric("top5_accuracy", "classification"),
        Metric("balanced_accuracy", "classification"),
        Metric("precision_macro", "classification"),
        Metric("recall_macro", "classification"),
        Metric("f1_macro", "classification"),
        Metric("worst_recall", "classification"),
        Metric("auc_macro", "classification"),
        Metric("log_loss", "classification", share=False, lower_is_better=True),
        Metric("ece", "classification", "ECE", lower_is_better=True),
        Metric("mae", "regression", "MAE", share=False, lower_is_better=True),
        Metric("rmse", "regression", "RMSE", share=False, lower_is_better=True),
        Metric("r2", "regression", "R2", share=False),
        Metric("auc", "anomaly", "AUC"),
        Metric("pauc", "anomaly", "pAUC"),
    )
}
MetricName = Annotated[str, NameOf(METRICS)]


def of(task: str) -> tuple[str, ...]:
    """The names of a task's metrics."""
    return tuple(name for name, row in METRICS.items() if row.task == task)
