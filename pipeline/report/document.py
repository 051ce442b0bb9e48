"""The report as data: what ``report.json`` holds. Every page and table is drawn from this and nothing else.

``schema_version`` is 1: fields may be added, none is renamed. Fractions are 0..1, sizes bytes, times as named.
A figure that was not measured is null, and never a zero.
"""

from typing import Any, Literal

from pydantic import Field

from pipeline.data.tasks.task import TaskName
from pipeline.stages.ladder.facts import LadderFacts
from pipeline.stages.sensitivity_facts import SensitivityFacts
from pipeline.verify.model_facts import CheckResult, Errors, Facts, Latency, LayerFacts, ModelFacts, Port

__all__ = [
    "CheckResult",
    "DataFacts",
    "Errors",
    "Facts",
    "FileFacts",
    "Latency",
    "LayerFacts",
    "ModelFacts",
    "Port",
    "Report",
    "Split",
    "StepFacts",
]  # fmt: skip


class Split(Facts):
    examples: int
    sha256: str = Field(description="of the examples and labels in their order")


class DataFacts(Facts):
    fingerprint: str = Field(description="sha256 of what the data source read")
    task: TaskName = Field(default="classification", description="what is to be learnt")
    labels: tuple[str, ...] = Field(description="of classes, or of the numbers of regression")
    splits: dict[str, Split]


class StepFacts(Facts):
    """One stage of the run."""

    name: str
    stage: str
    key: str
    cached: bool
    seconds: float = Field(description="wall time of making it; of the run that made it when it is cached")
    curves: dict[str, tuple[float, ...]] = Field(
        default={}, description="a value an epoch: loss and learning_rate, with accuracy or mae; val_ is of validation"
    )
    layers: tuple[dict[str, Any], ...] = Field(
        default=(), description="what the stage did to each layer: {layer, kind, done, why, ...}"
    )
    notes: tuple[str, ...] = Field(default=(), description="what the user should know, a sentence each")
    settings: dict[str, Any] = Field(default={}, description="the stage's own resolved settings")
    ladder: LadderFacts | None = Field(default=None, description="what an auto stage tried")
    sensitivity: SensitivityFacts | None = Field(default=None, description="the ranking of a sensitivity stage")


class FileFacts(Facts):
    """A file of the run folder."""

    sha256: str
    bytes: int


class Report(Facts):
    name: str
    status: Literal["pass", "fail"]
    schema_version: Literal[1] = 1
    environment: dict[str, str]
    config: dict[str, Any] = Field(description="the resolved config; its paths are relative to the run folder")
    data: DataFacts
    steps: tuple[StepFacts, ...]
    models: tuple[ModelFacts, ...]
    checks: tuple[CheckResult, ...]
    files: dict[str, FileFacts] = Field(
        default={}, description="files of the run folder that hold results, beside the models and the report's own"
    )
