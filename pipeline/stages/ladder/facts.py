"""What the auto stage tried: the facts that it and the report share."""

from typing import Any, Literal

from pydantic import Field

from pipeline.verify.model_facts import CheckResult, Facts, Paired


class RungFacts(Facts):
    """One way to make the file, with what was measured of it on the validation split."""

    rung: str
    status: Literal["met", "missed", "failed", "skipped"] = Field(
        description="missed: a budget, or one that can't be told; failed: a stage of it did; skipped: it could not help"
    )
    why: str = Field(default="", description="why it is not met, in words")
    stages: tuple[dict[str, Any], ...] = Field(default=(), description="settings of the stages that make the file")
    seconds: float | None = Field(
        default=None, description="wall time of its stages when they were made; null when one failed"
    )
    score: float | None = Field(default=None, description="the task's main metric")
    paired: Paired | None = Field(default=None, description="against the float32 file, example by example")
    bytes: int | None = None
    arena: int | None = Field(default=None, description="the smallest that works on TensorFlow Lite Micro")
    macs: int | None = None
    latency_ratios: tuple[float, ...] = Field(
        default=(), description="times on the host over the float32 file's, measured in turns; empty when not asked"
    )
    budgets: tuple[CheckResult, ...] = Field(default=(), description="each budget with the value and the limit")


class LadderFacts(Facts):
    """All rungs in the order in which they were tried."""

    metric: str = Field(description="the task's main metric")
    examples: int = Field(description="of the validation split, which decides")
    split_sha256: str = Field(description="of the validation split")
    score: float | None = Field(description="of the float32 file there; null where it can't be measured")
    confidence: float
    rungs: tuple[RungFacts, ...]
    chosen: str = Field(description="the rung whose file ships")
    stopped: str = Field(description="why no further rung was tried, in words")
