"""The check `io`: the data types of the file's input and output."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.verify.checks.check import Check
from pipeline.verify.model_facts import CheckResult, ModelFacts, Port

Type = Literal["int8", "uint8", "int16", "int32", "float32"]
Types = Annotated[tuple[Type, ...], Field(strict=False, min_length=1)]


class Io(Check):
    """Data types of the file's input and output tensors."""

    check: Literal["io"]
    input: Type | Types | None = None
    """Type of the input tensor, or a list of allowed types."""
    output: Type | Types | None = None
    """Type of the output tensor, or a list of allowed types."""

    @model_validator(mode="after")
    def _promises_something(self) -> "Io":
        if self.input is None and self.output is None:
            raise ValueError("give input, output or both")
        return self

    def judge(self, model: ModelFacts, baseline: ModelFacts | None) -> Iterator[CheckResult]:
        if self.input is not None:
            yield self._one(model, "input", model.input, self.input)
        if self.output is not None:
            yield self._one(model, "output", model.output, self.output)

    def _one(self, model: ModelFacts, what: str, port: Port | None, allowed: str | tuple[str, ...]) -> CheckResult:
        types = (allowed,) if isinstance(allowed, str) else allowed
        limit = " or ".join(types)
        if port is None:
            why = f"the file has not just one {what}"
            return CheckResult(
                check=self.check, model=model.name, status="unavailable", what=f"{what} type", limit=limit, why=why
            )
        found = port.dtype.lower()
        status: Literal["pass", "fail"] = "pass" if found in types else "fail"
        return CheckResult(
            check=self.check, model=model.name, status=status, what=f"{what} type", value=found, limit=limit
        )
