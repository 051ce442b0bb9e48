"""Whether all sizes are known before the file runs."""

from collections.abc import Iterator
from typing import Literal

from pipeline.verify.checks.check import Check
from pipeline.verify.model_facts import CheckResult, ModelFacts


class StaticShapes(Check):
    """No tensor has a dimension that the file leaves open: microcontrollers and NPUs plan their memory beforehand."""

    check: Literal["static_shapes"]

    def judge(self, model: ModelFacts, baseline: ModelFacts | None) -> Iterator[CheckResult]:
        yield self.none_of(model, "tensors of open shape", model.dynamic)
