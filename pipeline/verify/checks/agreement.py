"""How often the file decides as the Keras model does."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from pipeline.verify.checks.check import Check
from pipeline.verify.model_facts import CheckResult, ModelFacts


class Agreement(Check):
    """Share of the test examples on which the file and the Keras model that it was made from decide the same."""

    decisions = True

    check: Literal["agreement"]
    min: Annotated[float, Field(ge=0, le=1)]
    """Least share, a fraction."""

    def judge(self, model: ModelFacts, baseline: ModelFacts | None) -> Iterator[CheckResult]:
        value = model.error.agreement if model.error else None
        missing = "there was no Keras model to compare with"
        yield self.result(model, "agreement with Keras", value, "at least", self.min, "fraction", missing)
