"""The settings of the ladder, which its rungs share."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from pipeline.core.settings import Portion
from pipeline.keras.conversion.calibration import Calibration
from pipeline.keras.models.model import ModelFile
from pipeline.stages.ladder.budgets import Budgets
from pipeline.stages.taught import Taught

RungName = Literal[
    "ptq", "percentile", "mse", "kl", "equalized", "keep_int16", "keep_float", "qat", "pqat", "distilled_qat",
    "channel_qat",
]  # fmt: skip

INTEGER: tuple[RungName, ...] = tuple(name for name in get_args(RungName) if name != "keep_float")


class Ladder(Budgets, Taught):
    """Settings of what climbs the ladder."""

    not_behind: ClassVar[Mapping[str, str]] = {"qat": "that is one of its rungs"}
    only_float32 = "tfmot rounds weights and activations in float32 alone"

    rungs: Annotated[tuple[RungName, ...], Field(strict=False, min_length=1)] = INTEGER
    """What to try, in this order; all but `keep_float`, whose file is not integer-only, when left out."""
    worst: PositiveInt = 2
    """Layers that `keep_int16` and `keep_float` keep, of a ranking that they make first."""
    epochs: PositiveInt = 10
    """Passes over the training split of each stage that trains."""
    learning_rate: PositiveFloat = 5e-4
    """At the start, or after a warm-up."""
    teacher: str | ModelFile | None = None
    """Who teaches in `distilled_qat`: a stage above, or a model file; the model itself, in float, when left out."""
    sparsity: Portion = 0.5
    """Share of zeros that `pqat` prunes to."""
    keep_macs: Portion | None = None
    """Share of the multiply-accumulates that `channel_qat` leaves; what max_macs asks, or 0.6, when left out."""
    io: Literal["int8", "uint8", "float32"] | None = None
    """Type of the file's inputs and outputs; int8, or what the run's target takes, when left out."""
    calibration: Calibration | None = None
    """What activation ranges come from; 200 examples when left out."""
    per_channel: bool = True
    """A scale for each channel of the weights, or one for all of a layer's, as some accelerators demand."""
    per_channel_dense: bool | None = None
    """As of a convert stage."""

    @model_validator(mode="after")
    def _rungs_fit(self) -> "Ladder":
        if len(set(self.rungs)) < len(self.rungs):
            raise ValueError("rungs: must name each rung once")
        if self.calibration and self.calibration.ranges != "minmax":
            raise ValueError("calibration.ranges: is what the rungs are for: name one, such as `mse`, in `rungs`")
        if not self.per_channel and self.per_channel_dense:
            raise ValueError("per_channel_dense: can't be true where per_channel is false")
        if self.teacher is not None and "distilled_qat" not in self.rungs:
            raise ValueError("teacher: needs the rung distilled_qat")
        return self
