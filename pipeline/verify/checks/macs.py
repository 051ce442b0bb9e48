"""The check `macs`: how many multiply-accumulates one inference takes."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from pipeline.verify.checks.check import Check
from pipeline.verify.model_facts import CheckResult, ModelFacts


class Macs(Check):
    """Number of multiply-accumulates (MACs) of one inference, from the ops' shapes. Zero weights count too."""

    check: Literal["macs"]
    max: PositiveInt | None = None
    """Maximum number of MACs."""
    max_ratio: Annotated[float, Field(gt=0)] | None = None
    """Maximum MACs divided by the baseline's MACs."""

    @model_validator(mode="after")
    def _promises_something(self) -> "Macs":
        if self.max is None and self.max_ratio is None:
            raise ValueError("give max, max_ratio or both")
        return self

    @property
    def needs_baseline(self) -> str:
        return "max_ratio" if self.max_ratio is not None else ""

    def judge(self, model: ModelFacts, baseline: ModelFacts | None) -> Iterator[CheckResult]:
        if self.max is not None:
            yield self.result(model, "MACs", model.macs, "at most", self.max, "count", "the file's ops were not read")
        if self.max_ratio is not None:
            base = baseline.macs if baseline else None
            ratio = model.macs / base if model.macs is not None and base else None
            missing = "the MACs of the model or of the baseline are not known"
            yield self.result(model, "MACs against the baseline", ratio, "at most", self.max_ratio, "fraction", missing)
