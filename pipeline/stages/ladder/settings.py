"""The settings of an auto stage, which its rungs share."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from pipeline.core.settings import Portion
from pipeline.keras.conversion.calibration import Calibration
from pipeline.keras.conversion.request import Kernels
from pipeline.keras.models.model import ModelFile
from pipeline.stages.ladder.budgets import Budgets
from pipeline.stages.taught import Taught

RungName = Literal[
    "ptq", "percentile", "mse", "kl", "equalized", "keep_int16", "keep_float", "qat", "pqat", "distilled_qat",
    "channel_qat", "qat4", "distilled_qat4",
]  # fmt: skip

ASKED = ("keep_float", "qat4", "distilled_qat4")  # rungs that are tried only when they are named
USUAL: tuple[RungName, ...] = tuple(name for name in get_args(RungName) if name not in ASKED)


class Ladder(Budgets, Taught):
    """Settings of an auto stage: the budgets, the rungs, and what the rungs need."""

    not_behind: ClassVar[Mapping[str, str]] = {"qat": "that is one of its rungs"}
    only_float32 = "tfmot rounds weights and activations in float32 alone"

    rungs: Annotated[tuple[RungName, ...], Field(strict=False, min_length=1)] = USUAL
    """Rungs to try, in this order. Default: all except `keep_float`, whose file is not integer-only, and `qat4` and
    `distilled_qat4`, whose 4-bit weights cost RAM and time on the device."""
    worst: PositiveInt = 2
    """Number of layers that `keep_int16` and `keep_float` keep, the most sensitive ones."""
    epochs: PositiveInt = 10
    """Passes over the training split in each stage that trains."""
    learning_rate: PositiveFloat = 5e-4
    """Learning rate at the start, or after the warm-up."""
    teacher: str | ModelFile | None = None
    """Teacher in `distilled_qat` and `distilled_qat4`: the name of a stage above, or a model file `{source: file, path:
    ...}`. Default: the float model itself."""
    sparsity: Portion = 0.5
    """Share of zeros that `pqat` prunes to, a fraction."""
    keep_macs: Portion | None = None
    """Share of the multiply-accumulates that `channel_qat` keeps, a fraction. Default: what `max_macs` requires, or
    0.6."""
    io: Literal["int8", "uint8", "float32"] | None = None
    """Type of inputs and outputs. Default: int8, or a type that the run's target supports."""
    calibration: Calibration | None = None
    """How activation ranges are measured; `ranges` must be `minmax`. Default: on 200 examples."""
    per_channel: bool = True
    """Quantize weights with one scale per channel; false: one scale per layer, as some accelerators require."""
    per_channel_dense: bool | None = None
    """Same as convert's `per_channel_dense`."""
    kernels: Kernels | None = None
    """Same as convert's `kernels`."""

    keep_8: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Layers that keep 8-bit weights in `qat4` and `distilled_qat4`: names or patterns (`block1*`)."""

    @property
    def each(self) -> float:
        """Confidence level at which the drop of each rung is judged.

        The more rungs are tried, the likelier is one that passes by luck. At this level the chance that any of them
        does is at most 1 - confidence (Bonferroni's correction).
        """
        return 1 - (1 - self.confidence) / len(self.rungs)

    @model_validator(mode="after")
    def _rungs_fit(self) -> "Ladder":
        if len(set(self.rungs)) < len(self.rungs):
            raise ValueError("rungs: must name each rung once")
        if self.calibration and self.calibration.ranges != "minmax":
            raise ValueError("calibration.ranges: is what the rungs are for: name one, such as `mse`, in `rungs`")
        if not self.per_channel and self.per_channel_dense:
            raise ValueError("per_channel_dense: can't be true where per_channel is false")
        if self.teacher is not None and not {"distilled_qat", "distilled_qat4"} & {*self.rungs}:
            raise ValueError("teacher: needs the rung distilled_qat or distilled_qat4")
        if self.keep_8 and not {"qat4", "distilled_qat4"} & {*self.rungs}:
            raise ValueError("keep_8: needs the rung qat4 or distilled_qat4")
        return self
