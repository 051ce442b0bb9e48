"""The check `integer_only`: whether the file computes anything in floating point."""

from collections.abc import Iterator
from typing import Literal

from pipeline.verify.checks.check import Check
from pipeline.verify.model_facts import CheckResult, ModelFacts


class IntegerOnly(Check):
    """No op, in any subgraph of the file, reads or writes a floating-point tensor."""

    check: Literal["integer_only"]

    def judge(self, model: ModelFacts, baseline: ModelFacts | None) -> Iterator[CheckResult]:
        if model.integer_only is None:
            yield CheckResult(check=self.check, model=model.name, status="unavailable", why="the file was not read")
            return
        shown = "; ".join(model.floats[:3]) + (f"; and {len(model.floats) - 3} more" if len(model.floats) > 3 else "")
        yield CheckResult(
            check=self.check,
            model=model.name,
            status="pass" if model.integer_only else "fail",
            what="integer-only",
            value="yes" if model.integer_only else "no",
            limit="yes",
            why=shown,
        )
