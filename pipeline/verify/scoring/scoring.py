"""How well outputs do their task, one class a task: metrics, and what two models are compared by. No TensorFlow.

Rows are outputs (N, values) as `Task.rows` gives them, x the examples (N, ...) and y what is known of them.
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


class Shares(Scoring):
    """Of a figure that is a mean over the examples."""

    metric: str  # the task's main metric

    def main(self, verdicts: Verdicts, y: Truth) -> float | None:
        return float(verdicts.mean()) if np.isfinite(verdicts).all() else None

    def paired(
        self, base: Verdicts, own: Verdicts, y: Truth, labels: Sequence[str], confidence: float = CONFIDENCE
    ) -> Paired | None:
        if not np.isfinite([base, own]).all():
            return None
        return statistics.paired_means(self.metric, base, own, confidence)


SCORING: Family[Scoring] = Family("SCORING")  # by the name of the task
