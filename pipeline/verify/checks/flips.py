"""The check `flips`: how many decisions become wrong, even if as many others become right."""

from collections.abc import Iterator
from typing import Literal

from pydantic import model_validator

from pipeline.core import units
from pipeline.core.settings import Fraction
from pipeline.verify.checks.check import Check
from pipeline.verify.model_facts import CheckResult, ModelFacts


class Flips(Check):
    """Decisions that the baseline gets right and the file gets wrong. Accuracy alone can hide them."""

    outputs = True
    decisions = True

    check: Literal["flips"]
    max_lost: Fraction | None = None
    """Maximum share of lost decisions, as a fraction of all test examples."""
    max_class_drop: Fraction | None = None
    """Maximum drop of accuracy of any one class, as a fraction."""

    @model_validator(mode="after")
    def _promises_something(self) -> "Flips":
        if self.max_lost is None and self.max_class_drop is None:
            raise ValueError("give max_lost, max_class_drop or both")
        return self

    @property
    def needs_baseline(self) -> str:
        return "max_lost" if self.max_lost is not None else "max_class_drop"

    def judge(self, model: ModelFacts, baseline: ModelFacts | None) -> Iterator[CheckResult]:
        missing = "no decisions were compared with the baseline's"
        paired = model.paired
        if self.max_lost is not None:
            compared = paired is not None and paired.lost is not None
            lost = 0.0 if model.baseline else (paired.lost or 0) / paired.n if paired and compared else None
            why = f"{units.whole(paired.lost)} lost and {units.whole(paired.gained)} gained" if paired else ""
            yield self.result(model, "lost decisions", lost, "at most", self.max_lost, "fraction", missing, why)
        if self.max_class_drop is not None:
            worst = paired.worst if paired else None
            drop = worst.drop if worst else 0.0 if paired or model.baseline else None
            why = f"class {worst.label}: {worst.lost} of {worst.examples} lost, {worst.gained} gained" if worst else ""
            yield self.result(model, "drop of a class", drop, "at most", self.max_class_drop, "points", missing, why)
