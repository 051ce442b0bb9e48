"""The check `op_versions`: whether a runtime supports the versions of the file's ops."""

from collections.abc import Iterator
from typing import Literal

from pydantic import PositiveInt

from pipeline.verify.checks.check import Check
from pipeline.verify.model_facts import CheckResult, ModelFacts


class OpVersions(Check):
    """No op has a later version than the runtime supports. Otherwise the runtime refuses to load the file."""

    check: Literal["op_versions"]
    max: dict[str, PositiveInt]
    """Highest supported version of each op. Ops that are not listed may have any version."""

    def judge(self, model: ModelFacts, baseline: ModelFacts | None) -> Iterator[CheckResult]:
        found = (
            f"{op} is of version {version}, and {self.max[op]} is known"
            for op, version in model.op_versions.items()
            if version > self.max.get(op, version)
        )
        yield self.none_of(model, "ops of a later version", tuple(found))
