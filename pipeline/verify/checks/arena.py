"""The check `arena`: how much RAM the file needs on a microcontroller."""

from collections.abc import Iterator
from typing import Literal

from pydantic import PositiveInt

from pipeline.verify.checks.check import Check
from pipeline.verify.model_facts import CheckResult, ModelFacts


class Arena(Check):
    """Size of the smallest tensor arena in which the file runs, measured on TensorFlow Lite Micro.

    The measurement uses 64-bit pointers, so a 32-bit device needs slightly less.
    """

    check: Literal["arena"]
    max_bytes: PositiveInt
    """Maximum size in bytes."""

    def judge(self, model: ModelFacts, baseline: ModelFacts | None) -> Iterator[CheckResult]:
        value = model.arena.smallest if model.arena else None
        result = self.result(model, "arena", value, "at most", self.max_bytes, "bytes", model.arena_why)
        if model.arena and model.arena.shapes:
            at = " and ".join("x".join(map(str, shape)) for shape in model.arena.shapes)
            result = result.model_copy(update={"why": f"its shape is open; this is a copy at {at}"})
        if model.arena_refused:  # TFLM can't run the file in an arena of any size
            result = result.model_copy(update={"status": "fail", "value": "does not run"})
        yield result
