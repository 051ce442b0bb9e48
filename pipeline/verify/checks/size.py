"""The check `size`: how large the file is."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from pipeline.verify.checks.check import Check
from pipeline.verify.model_facts import CheckResult, ModelFacts


class Size(Check):
    """Size of the .tflite file, not compressed."""

    check: Literal["size"]
    max_bytes: PositiveInt | None = None
    """Maximum size in bytes."""
    max_ratio: Annotated[float, Field(gt=0)] | None = None
    """Maximum size divided by the baseline's size."""

    @model_validator(mode="after")
    def _promises_something(self) -> "Size":
        if self.max_bytes is None and self.max_ratio is None:
            raise ValueError("give max_bytes, max_ratio or both")
        return self

    @property
    def needs_baseline(self) -> str:
        return "max_ratio" if self.max_ratio is not None else ""

    def judge(self, model: ModelFacts, baseline: ModelFacts | None) -> Iterator[CheckResult]:
        if self.max_bytes is not None:
            yield self.result(model, "file size", model.bytes, "at most", self.max_bytes, "bytes")
        if self.max_ratio is not None:
            ratio = model.bytes / baseline.bytes if baseline else None
            what = "file size against the baseline"
            yield self.result(model, what, ratio, "at most", self.max_ratio, "fraction", "there is no baseline")
