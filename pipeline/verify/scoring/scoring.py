"""Base classes that score outputs, one subclass for each task: metrics, and comparison of two models. No TensorFlow.

Rows are outputs (N, values) as returned by `Task.rows`, x are the examples (N, ...) and y their labels or values.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.family import Family
from pipeline.data.tasks.task import Truth
from pipeline.verify.model_facts import Paired
from pipeline.verify.scoring import statistics
from pipeline.verify.scoring.statistics import CONFIDENCE, Floats

Verdicts = NDArray[Any]  # (N,): one value for each example, kept to compare the model with others


class Scoring(ABC):
    """Scores the outputs of one task.

    Example for a task whose metric is the median absolute error. It also needs a line in `SCORING` of the registry, and
    its metric a row in `METRICS`::

        class MedianScoring(Scoring):
            def facts(self, rows, x, y, labels, step):
                return {"metrics": {"median_error": self.main(self.verdicts(rows, x, y), y)}}

            def verdicts(self, rows, x, y):
                return np.abs(rows - y).mean(axis=1)

            def main(self, verdicts, y):
                return float(np.median(verdicts))

            def paired(self, base, own, y, labels, confidence=CONFIDENCE):
                return None

    Subclass `Shares` when the metric is a mean over the examples, which gives `main` and `paired`.
    """

    @abstractmethod
    def facts(self, rows: Floats, x: Floats, y: Truth, labels: Sequence[str], step: float | None) -> dict[str, Any]:
        """The fields of ModelFacts about metrics. labels: names of the classes. step: scale of a quantized output."""

    @abstractmethod
    def verdicts(self, rows: Floats, x: Floats, y: Truth) -> Verdicts:
        """One value for each example (N,): its decision or, without decisions, its share of the main metric."""

    @abstractmethod
    def main(self, verdicts: Verdicts, y: Truth) -> float | None:
        """The task's main metric; None when it can't be measured."""

    @abstractmethod
    def paired(
        self, base: Verdicts, own: Verdicts, y: Truth, labels: Sequence[str], confidence: float = CONFIDENCE
    ) -> Paired | None:
        """Compare a model with the baseline on the same examples; None when the main metric was not measured."""

    def fit(self, rows: Floats, x: Floats, y: Truth) -> float | None:
        """How well the outputs fit examples of any split, as a share: 1 for perfect outputs, 0 for constant ones.

        A classifier's is its accuracy. None, by default, for a task that has no such share.
        """
        return None


class Shares(Scoring):
    """Scoring with a main metric that is a mean over the examples. Verdicts are the examples' shares of it."""

    metric: str  # the task's main metric

    def main(self, verdicts: Verdicts, y: Truth) -> float | None:
        return float(verdicts.mean()) if np.isfinite(verdicts).all() else None

    def paired(
        self, base: Verdicts, own: Verdicts, y: Truth, labels: Sequence[str], confidence: float = CONFIDENCE
    ) -> Paired | None:
        if not np.isfinite([base, own]).all():
            return None
        return statistics.paired_means(self.metric, base, own, confidence)


SCORING: Family[Scoring] = Family("SCORING")  # task name -> Scoring
