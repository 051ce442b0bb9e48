"""What a check is."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from pipeline.facts import CheckResult, ModelFacts
from pipeline.stage import Strict


class Check(Strict):
    """A promise about a .tflite file. `judge` decides from measured facts alone and imports no TensorFlow."""

    of: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] | None = None
    """Names of the models that this check is for; all that verify names when left out."""

    @property
    def needs_baseline(self) -> str:
        """The setting that can't be judged without a baseline; "" when there is none."""
        return ""

    def judge(self, model: ModelFacts, baseline: ModelFacts | None) -> Iterator[CheckResult]:
        """A result for each promise: pass or fail with the value and the limit, or unavailable with the reason."""
        raise NotImplementedError

    def result(
        self,
        model: ModelFacts,
        what: str,
        value: float | None,
        bound: Literal["at least", "at most"],
        limit: float,
        unit: Literal["fraction", "points", "bytes"],
        missing: str = "",
    ) -> CheckResult:
        """Compare a measured value with its limit; without a value the result is unavailable because of `missing`."""
        name = str(getattr(self, "check"))  # noqa: B009 (the tag is a field of each subclass)
        if value is None:
            return CheckResult(
                check=name, model=model.name, status="unavailable", what=what, bound=bound, limit=limit, unit=unit,
                why=missing,
            )  # fmt: skip
        held = value >= limit if bound == "at least" else value <= limit
        return CheckResult(
            check=name, model=model.name, status="pass" if held else "fail", what=what, value=value, bound=bound,
            limit=limit, unit=unit,
        )  # fmt: skip
