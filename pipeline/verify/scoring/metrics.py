"""The table of all metrics: one row each. What it takes to measure one is in the file of its task's scoring."""

from collections.abc import Mapping
from typing import Annotated, NamedTuple

from pipeline.core.family import NameOf


class Metric(NamedTuple):
    """A row.

    name             in configs and in `report.json`
    task             the name of the task that has it
    title            as people write it; the name when it is left out
    share            whether it is a share of the whole, 0..1, printed in percent and compared in points; any other
                     figure is in a unit of its own
    lower_is_better  whether less of it is better
    """

    name: str
    task: str
    title: str = ""
    share: bool = True
    lower_is_better: bool = False

    @property
    def change(self) -> str:
        """What makes it worse: a drop, or a rise where lower is better."""
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
