"""The check `sparsity`: how many of the weights that the file stores are zero."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from pipeline.verify.checks.check import Check
from pipeline.verify.model_facts import CheckResult, ModelFacts


class Sparsity(Check):
    """Share of zeros among all weights that a prune stage pruned, counted in the file's tensors.

    Unavailable where the file has no weights of a pruned layer, and names it."""

    check: Literal["sparsity"]
    min: Annotated[float, Field(gt=0, lt=1)]
    """Minimum share, as a fraction."""

    def judge(self, model: ModelFacts, baseline: ModelFacts | None) -> Iterator[CheckResult]:
        what = "zeros in the pruned weights"
        yield self.result(model, what, model.pruned_sparsity, "at least", self.min, "fraction", model.pruned_why)
