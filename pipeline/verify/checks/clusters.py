"""How many different weights there are in the file itself."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from pipeline.verify.checks.check import Check
from pipeline.verify.model_facts import CheckResult, ModelFacts


class Clusters(Check):
    """Different weights that share a scale, in the layers that a cluster stage clustered, as the file stores them.

    A quantized convolution has a scale for each channel, so one shared weight is stored as another integer in each.
    """

    check: Literal["clusters"]
    max: Annotated[int, Field(ge=2, le=256)]
    """Most values in any channel of any of these layers."""

    def judge(self, model: ModelFacts, baseline: ModelFacts | None) -> Iterator[CheckResult]:
        missing = "no cluster stage stands before this model"
        found = {name: model.unique_values[name] for name in model.clustered}
        over = [f"{name} has {values}" for name, values in found.items() if values > self.max]
        what = "different weights a scale in clustered layers"
        value = max(found.values(), default=None)
        yield self.result(model, what, value, "at most", self.max, "count", missing, "; ".join(over))
