"""The check `clusters`: how many different weight values the file stores."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from pipeline.verify.checks.check import Check
from pipeline.verify.model_facts import CheckResult, ModelFacts


class Clusters(Check):
    """Number of different stored weights per scale, in the layers that a cluster stage clustered.

    A quantized convolution has one scale per channel, so the same shared weight is stored as a different integer in
    each channel. Values are therefore counted per channel.
    """

    check: Literal["clusters"]
    max: Annotated[int, Field(ge=2, le=256)]
    """Maximum number of different values in any channel of any clustered layer."""

    def judge(self, model: ModelFacts, baseline: ModelFacts | None) -> Iterator[CheckResult]:
        found = {name: model.unique_values[name] for name in model.clustered}
        over = [f"{name} has {values}" for name, values in found.items() if values > self.max]
        what = "different weights a scale in clustered layers"
        value = max(found.values(), default=None)
        yield self.result(model, what, value, "at most", self.max, "count", model.clustered_why, "; ".join(over))
