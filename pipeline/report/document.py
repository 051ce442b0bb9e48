"""The report as data: the content of ``report.json``, from which all other forms of the report are made.

``schema_version`` is 1: fields may be added, but not renamed. Fractions are 0..1, sizes are in bytes, times in the unit
in their name. A figure that was not measured is null, never 0. The texts "NaN" and "Infinity" stand for numbers that
JSON lacks.
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
    "Origin",
    "Port",
    "Report",
    "Split",
    "StepFacts",
]  # fmt: skip


class Split(Facts):
    """One split of the data."""

    examples: int = Field(description="number of examples")
    sha256: str = Field(description="sha256 of the examples and labels in their order")


class DataFacts(Facts):
    """The data of the run."""

    fingerprint: str = Field(description="sha256 of the content that the data source read")
    task: TaskName = Field(default="classification", description="task that the models learn")
    labels: tuple[str, ...] = Field(description="names of the classes, or of the values of regression")
    splits: dict[str, Split] = Field(description="the splits by name: train, validation, calibration and test")


class StepFacts(Facts):
    """One stage of the run."""

    name: str = Field(description="name of the stage in the run")
    stage: str = Field(description="kind of the stage")
    key: str = Field(description="cache key of the result")
    cached: bool = Field(description="whether the result was already in the store")
    seconds: float = Field(description="wall time in seconds; if cached, that of the run that made it")
    curves: dict[str, tuple[float, ...]] = Field(
        default={},
        description="one value per epoch: loss, learning_rate and accuracy or mae; val_ for validation, where "
        "val_unpredicted is the number of labels that have examples and are never predicted",
    )
    layers: tuple[dict[str, Any], ...] = Field(
        default=(), description="action of the stage on each layer: {layer, kind, done, why, ...}"
    )
    notes: tuple[str, ...] = Field(default=(), description="sentences that the user should read")
    settings: dict[str, Any] = Field(default={}, description="the stage's own resolved settings")
    ladder: LadderFacts | None = Field(default=None, description="the steps that an auto stage tried")
    sensitivity: SensitivityFacts | None = Field(default=None, description="the ranking of a sensitivity stage")


class FileFacts(Facts):
    """A file of the run folder."""

    sha256: str = Field(description="sha256 of the file")
    bytes: int = Field(description="size of the file")


class Origin(Facts):
    """When, from what and by which command a report was made. No figure depends on it."""

    date: str = Field(description="when it was made, in UTC: 2026-11-28T14:02:31Z")
    command: str = Field(description="the command line")
    commit: str | None = Field(
        default=None, description="commit of the git repository that the config is in; null outside of one"
    )
    dirty: bool | None = Field(default=None, description="whether tracked files or the config differed from the commit")


class Report(Facts):
    """The whole report of a run, or of a single verified file."""

    name: str = Field(description="name of the run, or of the file that was verified")
    status: Literal["pass", "fail"] = Field(description="`pass` when every check passed")
    schema_version: Literal[1] = Field(default=1, description="version of this format")
    origin: Origin | None = Field(default=None, description="when, from what and by which command it was made")
    environment: dict[str, str] = Field(
        description="versions of python and the libraries that decide the figures, the machine and its processor"
    )
    config: dict[str, Any] = Field(description="the resolved config; its paths are relative to the run folder")
    data: DataFacts = Field(description="the data that was trained and measured on")
    steps: tuple[StepFacts, ...] = Field(description="the stages in the order in which they ran")
    models: tuple[ModelFacts, ...] = Field(description="the .tflite files")
    checks: tuple[CheckResult, ...] = Field(description="result of each check")
    files: dict[str, FileFacts] = Field(
        default={}, description="result files in the run folder, other than the models and the report's own files"
    )
