"""The check `accuracy`: accuracy on the test split, as a minimum or as a limit on the drop below the baseline."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.core.settings import Fraction
from pipeline.verify.checks.check import Check
from pipeline.verify.checks.confidence import at, beside, ends, within
from pipeline.verify.model_facts import CheckResult, ModelFacts
from pipeline.verify.scoring import proportion


class Accuracy(Check):
    """Accuracy on the whole test split."""

    outputs = True
    decisions = True

    check: Literal["accuracy"]
    min: Fraction | None = None
    """Minimum accuracy, as a fraction."""
    max_drop: Fraction | None = None
    """Maximum drop of accuracy below the baseline, as a fraction: 0.01 is one percentage point."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] | None = None
    """Confidence level for max_drop, such as 0.95. The check passes when the whole confidence interval of the drop is
    within the limit, fails when all of it is beyond, and is unavailable (too few examples) when it contains the limit.
    When left out, the measured drop alone decides."""

    @model_validator(mode="after")
    def _promises_something(self) -> "Accuracy":
        if self.min is None and self.max_drop is None:
            raise ValueError("give min, max_drop or both")
        if self.confidence is not None and self.max_drop is None:
            raise ValueError("confidence: is for max_drop, which is not given")
        return self

    @property
    def needs_baseline(self) -> str:
        return "max_drop" if self.max_drop is not None else ""

    def judge(self, model: ModelFacts, baseline: ModelFacts | None) -> Iterator[CheckResult]:
        missing = model.missing.get("accuracy", "no accuracy was measured")
        if self.min is not None:
            value = model.metrics.get("accuracy")
            result = self.result(model, "accuracy", value, "at least", self.min, "fraction", missing)
            if value is not None and model.examples:
                result = beside(result, proportion.interval(value, model.examples))
            yield result
        if self.max_drop is not None and self.confidence is not None and model.paired is not None:
            yield within(self.check, model.name, at(model.paired, self.confidence), self.max_drop)
        elif self.max_drop is not None:
            drop = 0.0 if model.baseline else model.paired.drop if model.paired else model.drop.get("accuracy")
            result = self.result(model, "drop of accuracy", drop, "at most", self.max_drop, "points", missing)
            yield beside(result, ends(model.paired)) if model.paired else result
