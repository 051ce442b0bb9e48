"""Metrics of regression. N is the number of examples."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.data.tasks.task import Truth
from pipeline.verify.scoring.scoring import Shares, Verdicts
from pipeline.verify.scoring.statistics import Floats, MetricValues, comparable


def regression(predicted: Floats, y: Floats) -> MetricValues:
    """MAE, RMSE (both in the unit of y) and R2 of predictions (N,) or (N, M) against values of the same shape.

    R2 = 1 - sum of squared errors / sum of squared distances from the mean, averaged over the M outputs (scikit-learn's
    r2_score). It is missing when a true value is the same for all examples, because R2 then divides by zero.
    """
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    comparable(predicted, y)
    metrics = {"mae": float(mean_absolute_error(y, predicted)), "rmse": float(root_mean_squared_error(y, predicted))}
    if np.any(np.ptp(y, axis=0) == 0):
        return MetricValues(metrics, {"r2": "the true values are all the same"})
    return MetricValues(metrics | {"r2": float(r2_score(y, predicted))}, {})


class RegressionScoring(Shares):
    """Scoring of regression. An example's share of the MAE is its mean absolute error over its M values."""

    metric = "mae"

    def facts(self, rows: Floats, x: Floats, y: Truth, labels: Sequence[str], step: float | None) -> dict[str, Any]:
        return regression(rows, y)._asdict()

    def verdicts(self, rows: Floats, x: Floats, y: Truth) -> Verdicts:
        return np.asarray(np.abs(rows - y).mean(axis=1))

    def fit(self, rows: Floats, x: Floats, y: Truth) -> float | None:
        """1 - MAE / MAE of the medians, the best constant answer."""
        constant = float(np.abs(y - np.median(y, axis=0)).mean())
        return 1 - float(np.abs(rows - y).mean()) / constant if constant else None
