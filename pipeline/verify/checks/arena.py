"""How much RAM the file needs on a microcontroller."""

from collections.abc import Iterator
from typing import Literal

from pydantic import PositiveInt

from pipeline.verify.checks.check import Check
from pipeline.verify.model_facts import CheckResult, ModelFacts


class Arena(Check):
    """The smallest tensor arena that the file runs in, measured on TensorFlow Lite Micro itself.

    It runs with 64-bit pointers here, so a 32-bit device needs a little less.
    """

    check: Literal["arena"]
    max_bytes: PositiveInt
    """Most bytes."""

    def judge(self, model: ModelFacts, baseline: ModelFacts | None) -> Iterator[CheckResult]:
        value = model.arena.smallest if model.arena else None
        result = self.result(model, "arena", value, "at most", self.max_bytes, "bytes", model.arena_why)
        if model.arena_refused:  # it does not run there at all, in no arena
            result = result.model_copy(update={"status": "fail", "value": "does not run"})
        yield result
