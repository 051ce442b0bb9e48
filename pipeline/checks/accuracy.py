"""How often the file is right."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.checks.check import Check
from pipeline.facts import CheckResult, ModelFacts

Fraction = Annotated[float, Field(ge=0, le=1)]


class Accuracy(Check):
    """Accuracy over the whole test split."""

    check: Literal["accuracy"]
    min: Fraction | None = None
    """Least accuracy, a fraction."""
    max_drop: Fraction | None = None
    """Most accuracy that may be lost against the baseline, a fraction: 0.01 is one point."""

    @model_validator(mode="after")
    def _promises_something(self) -> "Accuracy":
        if self.min is None and self.max_drop is None:
            raise ValueError("give min, max_drop or both")
        return self

    @property
    def needs_baseline(self) -> str:
        return "max_drop" if self.max_drop is not None else ""

    def judge(self, model: ModelFacts, baseline: ModelFacts | None) -> Iterator[CheckResult]:
        missing = "no accuracy was measured"
        if self.min is not None:
            value = model.metrics.get("accuracy")
            yield self.result(model, "accuracy", value, "at least", self.min, "fraction", missing)
        if self.max_drop is not None:
            drop = 0.0 if model.baseline else model.drop.get("accuracy")
            yield self.result(model, "drop of accuracy", drop, "at most", self.max_drop, "points", missing)
