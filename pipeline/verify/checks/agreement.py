"""The check `agreement`: how often the file makes the same decision as the Keras model."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from pipeline.verify.checks.check import Check
from pipeline.verify.model_facts import CheckResult, ModelFacts


class Agreement(Check):
    """Share of test examples for which the file and the Keras model it was converted from make the same decision."""

    outputs = True
    decisions = True

    check: Literal["agreement"]
    min: Annotated[float, Field(ge=0, le=1)]
    """Minimum share, as a fraction."""

    def judge(self, model: ModelFacts, baseline: ModelFacts | None) -> Iterator[CheckResult]:
        value = model.error.agreement if model.error else None
        missing = "there was no Keras model to compare with"
        yield self.result(model, "agreement with Keras", value, "at least", self.min, "fraction", missing)
