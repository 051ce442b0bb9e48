"""How well outputs do their task, one class a task: metrics, and what two models are compared by. No TensorFlow.

Rows are outputs (N, values) as `Task.rows` gives them, x the examples (N, ...) and y what is known of them.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import metrics
from pipeline.facts import MetricName, Paired
from pipeline.metrics import CONFIDENCE
from pipeline.task import TASKS, TaskName, Truth

Floats = NDArray[np.floating]
Verdicts = NDArray[Any]  # (N,): what of each example is kept, for a comparison with any other model


class Scoring(ABC):
    """How the outputs of one task are judged."""

    @abstractmethod
    def facts(self, rows: Floats, x: Floats, y: Truth, labels: Sequence[str], step: float | None) -> dict[str, Any]:
        """The fields of ModelFacts that hold metrics. step: the scale of a quantized output."""

    @abstractmethod
    def verdicts(self, rows: Floats, x: Floats, y: Truth) -> Verdicts:
        """The decision for each example; without decisions its share of the main metric, whose mean that is."""

    @abstractmethod
    def main(self, verdicts: Verdicts, y: Truth) -> float | None:
        """The main metric; None where it can't be measured."""

    @abstractmethod
    def paired(
        self, base: Verdicts, own: Verdicts, y: Truth, labels: Sequence[str], confidence: float = CONFIDENCE
    ) -> Paired | None:
        """A model against the baseline on the same examples; None where the main metric was not measured."""


class Decisions(Scoring):
    """Of labels: each decision is right or wrong."""

    def facts(self, rows: Floats, x: Floats, y: Truth, labels: Sequence[str], step: float | None) -> dict[str, Any]:
        return metrics.classification(rows, y, labels, step)._asdict()

    def verdicts(self, rows: Floats, x: Floats, y: Truth) -> Verdicts:
        return np.asarray(TASKS["classification"].decisions(rows))

    def main(self, verdicts: Verdicts, y: Truth) -> float | None:
        return float(np.mean(verdicts == y))

    def paired(
        self, base: Verdicts, own: Verdicts, y: Truth, labels: Sequence[str], confidence: float = CONFIDENCE
    ) -> Paired | None:
        return metrics.paired(base == y, own == y, y, labels, confidence)


class Shares(Scoring):
    """Of a figure that is a mean over the examples."""

    metric: MetricName

    def main(self, verdicts: Verdicts, y: Truth) -> float | None:
        return float(verdicts.mean()) if np.isfinite(verdicts).all() else None

    def paired(
        self, base: Verdicts, own: Verdicts, y: Truth, labels: Sequence[str], confidence: float = CONFIDENCE
    ) -> Paired | None:
        if not np.isfinite([base, own]).all():
            return None
        return metrics.paired_means(self.metric, base, own, confidence)


class Numbers(Shares):
    """Of regression: an example's share of the MAE is its absolute error, the mean of its M values'."""

    metric = "mae"

    def facts(self, rows: Floats, x: Floats, y: Truth, labels: Sequence[str], step: float | None) -> dict[str, Any]:
        return metrics.regression(rows, y)._asdict()

    def verdicts(self, rows: Floats, x: Floats, y: Truth) -> Verdicts:
        return np.asarray(np.abs(rows - y).mean(axis=1))


class Anomalies(Shares):
    """Of what a model gives back: the score of an example is its mean squared error, in real units.

    As in MLPerf Tiny (github.com/mlcommons/tiny, anomaly_detection) and DCASE 2020 task 2 (Koizumi et al. 2020).
    """

    metric = "auc"

    def facts(self, rows: Floats, x: Floats, y: Truth, labels: Sequence[str], step: float | None) -> dict[str, Any]:
        return metrics.anomaly(_errors(rows, x), y)._asdict()

    def verdicts(self, rows: Floats, x: Floats, y: Truth) -> Verdicts:
        return metrics.auc_shares(_errors(rows, x), y)


SCORING: dict[TaskName, Scoring] = {
    "classification": Decisions(), "regression": Numbers(), "anomaly": Anomalies(),
}  # fmt: skip


def _errors(rows: Floats, x: Floats) -> NDArray[np.float64]:
    """Mean squared error (N,) of what a model gives back, in float64."""
    return np.asarray(np.mean((rows.astype(np.float64) - x.reshape(len(x), -1)) ** 2, axis=1))
