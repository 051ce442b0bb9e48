"""Compare the measurements of a file with those of its baseline. Nothing is run, and no file is read."""

from collections.abc import Mapping
from typing import Any

from pipeline.data.tasks.task import Truth
from pipeline.verify.model_facts import ModelFacts
from pipeline.verify.scoring.scoring import SCORING, Verdicts


def against(facts: ModelFacts, base: ModelFacts, verdicts: Mapping[str, Verdicts], y: Truth) -> ModelFacts:
    """Add each metric's drop below the baseline and the paired comparison of both on each example, for each runtime.

    verdicts (n,): those of the models for the first examples with labels or values y, by name; those of other runtimes
    than the model's base runtime as ``name@runtime``.
    """
    broken = any(row.not_finite for row in base.runtimes if row.base)
    labels, scoring = [each.label for each in base.per_class], SCORING[facts.task or "classification"]

    def compared(metrics: Mapping[str, float], own: Verdicts) -> dict[str, Any]:
        if broken or not metrics:  # NaN or infinity, which are not compared
            return {"drop": {}, "paired": None}
        count = len(own)
        drop = {key: base.metrics[key] - value for key, value in metrics.items() if key in base.metrics}
        return {"drop": drop, "paired": scoring.paired(verdicts[base.name][:count], own, y[:count], labels)}

    rows = tuple(
        row.model_copy(update=compared(row.metrics, verdicts[f"{facts.name}@{row.runtime}"]))
        if f"{facts.name}@{row.runtime}" in verdicts
        else row
        for row in facts.runtimes
    )
    return facts.model_copy(update={**compared(facts.metrics, verdicts[facts.name]), "runtimes": rows})
