"""Whether a runtime knows the ops in the versions that the file has."""

from collections.abc import Iterator
from typing import Literal

from pydantic import PositiveInt

from pipeline.verify.checks.check import Check
from pipeline.verify.model_facts import CheckResult, ModelFacts


class OpVersions(Check):
    """No op is of a later version than the runtime knows: it would refuse the file as it is loaded."""

    check: Literal["op_versions"]
    max: dict[str, PositiveInt]
    """Op -> the highest version; ops that are not named may have any."""

    def judge(self, model: ModelFacts, baseline: ModelFacts | None) -> Iterator[CheckResult]:
        found = (
            f"{op} is of version {version}, and {self.max[op]} is known"
            for op, version in model.op_versions.items()
            if version > self.max.get(op, version)
        )
        yield self.none_of(model, "ops of a later version", tuple(found))
