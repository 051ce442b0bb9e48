"""Whether the file keeps to the int8 specification."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from pipeline.checks.check import Check
from pipeline.facts import CheckResult, ModelFacts

RuleId = Literal[
    "R1", "R2", "R3", "R4", "R5", "R6", "R7", "R8", "R8u", "R9", "R10", "R11", "R12", "R13", "R14", "R15", "R16",
    "R17", "R18",
]  # fmt: skip


class Int8Spec(Check):
    """The file breaks no rule of the LiteRT 8-bit quantization specification. Compilers of NPUs take it as given."""

    check: Literal["int8_spec"]
    ignore: Annotated[tuple[RuleId, ...], Field(strict=False)] = ()
    """Rules that may be broken, such as `R6` for a converter that does not quantize per channel."""
    allow_warnings: bool = True
    """Whether what is unusual but legal may be there: channels without weights, open dimensions, custom ops."""

    def judge(self, model: ModelFacts, baseline: ModelFacts | None) -> Iterator[CheckResult]:
        what = "breaches of the int8 specification"
        if model.rules is None:
            why = f"the specification does not speak of {model.quantization or 'unknown'} files"
            yield CheckResult(check=self.check, model=model.name, status="unavailable", what=what, why=why)
            return
        counted = {"fail"} if self.allow_warnings else {"fail", "warn"}
        wrong = [str(found) for found in model.rules if found.severity in counted and found.rule not in self.ignore]
        yield self.none_of(model, what, wrong)
