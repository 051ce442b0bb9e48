"""The results of an auto stage: what it tried, for the report."""

from typing import Any, Literal

from pydantic import Field

from pipeline.verify.model_facts import CheckResult, Facts, Paired


class RungFacts(Facts):
    """One way to make the file, with what was measured on the validation split."""

    rung: str = Field(description="name of the rung")
    status: Literal["met", "missed", "failed", "skipped"] = Field(
        description="met: keeps every budget; missed: exceeds a budget, or one can't be judged; failed: a stage of the "
        "rung failed; skipped: the rung could not help"
    )
    why: str = Field(default="", description="reason why the status is not `met`")
    stages: tuple[dict[str, Any], ...] = Field(default=(), description="settings of the rung's stages")
    seconds: float | None = Field(
        default=None, description="wall time of the rung's stages when they ran, in seconds; null if one failed"
    )
    score: float | None = Field(default=None, description="main metric of the task")
    paired: Paired | None = Field(default=None, description="comparison with the float32 file, example by example")
    bytes: int | None = Field(default=None, description="size of the file")
    arena: int | None = Field(
        default=None, description="smallest tensor arena that works on TensorFlow Lite Micro, in bytes"
    )
    macs: int | None = Field(default=None, description="multiply-accumulates of one inference")
    latency_ratios: tuple[float, ...] = Field(
        default=(),
        description="latencies on the host divided by the float32 file's, measured alternately; empty if no budget "
        "needs them",
    )
    budgets: tuple[CheckResult, ...] = Field(default=(), description="result of each budget")


class LadderFacts(Facts):
    """All rungs, in the order in which they were tried."""

    metric: str = Field(description="name of the task's main metric")
    examples: int = Field(description="number of examples of the validation split, on which files are judged")
    split_sha256: str = Field(description="sha256 of the validation split")
    score: float | None = Field(
        description="main metric of the float32 file on the validation split; null if it can't be measured"
    )
    confidence: float = Field(description="how sure it must be that the chosen file keeps the drop, a fraction")
    each: float | None = Field(
        default=None,
        description="confidence level of each rung's interval, for all rungs together to have `confidence`; null in "
        "reports of versions that did not correct for their number",
    )
    rungs: tuple[RungFacts, ...] = Field(description="the rungs")
    chosen: str = Field(description="name of the rung whose file ships")
    stopped: str = Field(description="reason why no further rung was tried")
