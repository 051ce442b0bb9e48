"""The settings of a training."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from pipeline.core.settings import Settings, Share
from pipeline.keras.training.batches import Augment

Weights = Annotated[tuple[PositiveFloat, ...], Field(strict=False, min_length=2)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Constant(Settings):
    """The same learning rate throughout."""

    decay: Literal["constant"] = "constant"


class Cosine(Settings):
    """A linear warm-up, then half a cosine (Loshchilov and Hutter, https://arxiv.org/abs/1608.03983)."""

    decay: Literal["cosine"]
    warmup_epochs: NonNegative = 0.0
    """Epochs in which the rate rises from 0 to learning_rate."""
    final: Share = 0.0
    """Share of learning_rate that is left at the end."""


class Exponential(Settings):
    """The rate is multiplied by `factor` in every epoch, smoothly."""

    decay: Literal["exponential"]
    factor: Annotated[float, Field(gt=0, lt=1)]
    """What is left of the rate after an epoch."""


class Plateau(Settings):
    """The rate is multiplied by `factor` whenever val_loss has not improved for `patience` epochs."""

    decay: Literal["plateau"]
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """What is left of the rate."""
    patience: PositiveInt = 3
    """Epochs without improvement before the rate falls."""


class EarlyStopping(Settings):
    """Stop when nothing improves, and keep the weights of the best epoch."""

    monitor: Literal["val_loss", "val_accuracy", "val_mae"] = "val_loss"
    """The figure that must improve: val_accuracy is for classifiers, val_mae for regression."""
    patience: PositiveInt = 5
    """Epochs without improvement before training stops."""
    min_delta: NonNegative = 0.0
    """The least change that counts as an improvement."""


class TrainingSettings(Settings):
    """Settings of everything that trains."""

    only_float32: ClassVar[str] = ""  # why it can't train in another precision

    epochs: PositiveInt
    """Passes over the training split."""
    batch_size: PositiveInt = 32
    """Examples a step."""
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    """adamw is adam with weight_decay; sgd uses momentum."""
    learning_rate: PositiveFloat = 1e-3
    """At the start, or after a warm-up."""
    schedule: Annotated[Constant | Cosine | Exponential | Plateau, Field(discriminator="decay")] = Constant()
    """How the learning rate changes."""
    momentum: Share = 0.9
    """Of sgd."""
    weight_decay: NonNegative = 0.0
    """Decoupled decay of kernels, a step, times the learning rate; biases and normalisation are left alone."""
    clip_norm: PositiveFloat | None = None
    """Upper limit of the gradients' global norm."""
    label_smoothing: Share = 0.0
    """Share of the target that is spread over all labels; for classifiers."""
    l1: NonNegative = 0.0
    """Factor of the sum of absolute kernel weights in the loss."""
    l2: NonNegative = 0.0
    """Factor of the sum of squared kernel weights in the loss."""
    early_stopping: EarlyStopping | None = None
    """Stop early and keep the best weights; all epochs and the last weights when left out."""
    class_weights: Literal["balanced"] | Weights | None = None
    """Weight of each label's examples in the loss; `balanced` is inverse to how often the label occurs. For
    classifiers."""
    augment: Augment = Augment()
    """Random changes of the training images."""
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """What layers compute in while training. Weights and the last layer stay float32, and so does the model that is
    saved; mixed_float16 scales the loss so that small gradients are not lost (https://arxiv.org/abs/1710.03740)."""

    @model_validator(mode="after")
    def _settings_fit(self) -> "TrainingSettings":
        if self.optimizer == "adamw" and not self.weight_decay:
            raise ValueError("weight_decay: must be above 0 for adamw, such as 0.004; without one it is adam")
        if isinstance(self.schedule, Cosine) and self.schedule.warmup_epochs >= self.epochs:
            raise ValueError(f"schedule.warmup_epochs: must be less than epochs, {self.epochs}")
        if self.only_float32 and self.precision != "float32":
            raise ValueError(f"precision: must be float32 here: {self.only_float32}")
        return self

    def steps(self, examples: int) -> int:
        """Optimizer steps an epoch over so many examples."""
        return -(-examples // self.batch_size)
