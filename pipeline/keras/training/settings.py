"""The settings of training: epochs, optimizer, learning rate schedule, loss terms, early stopping and precision."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from pipeline.core.settings import Settings, Share
from pipeline.keras.training.batches import Augment

Weights = Annotated[tuple[PositiveFloat, ...], Field(strict=False, min_length=2)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Constant(Settings):
    """Constant learning rate."""

    decay: Literal["constant"] = "constant"


class Cosine(Settings):
    """Linear warm-up, then cosine decay without restarts (Loshchilov and Hutter, https://arxiv.org/abs/1608.03983)."""

    decay: Literal["cosine"]
    warmup_epochs: NonNegative = 0.0
    """Number of epochs, which can be fractional, in which the rate rises from 0 to `learning_rate`."""
    final: Share = 0.0
    """Learning rate at the end, as a share of `learning_rate`."""


class Exponential(Settings):
    """Exponential decay, applied at every step: the rate is multiplied by `factor` per epoch."""

    decay: Literal["exponential"]
    factor: Annotated[float, Field(gt=0, lt=1)]
    """Factor of the learning rate per epoch."""


class Plateau(Settings):
    """Multiply the learning rate by `factor` whenever val_loss has not improved for `patience` epochs."""

    decay: Literal["plateau"]
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Factor of the learning rate at each reduction."""
    patience: PositiveInt = 3
    """Number of epochs without improvement before a reduction."""


class EarlyStopping(Settings):
    """Stop training when a metric no longer improves, and keep the weights of the best epoch."""

    monitor: Literal["val_loss", "val_accuracy", "val_mae"] = "val_loss"
    """Metric on the validation split that must improve. `val_accuracy` is for classification, `val_mae` for
    regression."""
    patience: PositiveInt = 5
    """Number of epochs without improvement before training stops."""
    min_delta: NonNegative = 0.0
    """Smallest change that counts as an improvement, in units of the metric."""


class TrainingSettings(Settings):
    """Settings of every stage that trains."""

    only_float32: ClassVar[str] = ""  # why the stage can't train in another precision; "" if it can

    epochs: PositiveInt
    """Passes over the training split."""
    batch_size: PositiveInt = 32
    """Number of examples per optimizer step."""
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    """Optimizer. `adamw` is Adam with `weight_decay`, which it requires; `sgd` uses `momentum`."""
    learning_rate: PositiveFloat = 1e-3
    """Learning rate at the start, or after the warm-up."""
    schedule: Annotated[Constant | Cosine | Exponential | Plateau, Field(discriminator="decay")] = Constant()
    """How the learning rate changes during training."""
    momentum: Share = 0.9
    """Momentum; `sgd` only."""
    weight_decay: NonNegative = 0.0
    """Decoupled weight decay: each step subtracts this times the learning rate times the weight. Biases and
    normalisation are excluded."""
    clip_norm: PositiveFloat | None = None
    """Upper limit of the global norm of the gradients. Default: none."""
    label_smoothing: Share = 0.0
    """Share of each target that is spread evenly over all labels, a fraction. Classifiers only."""
    l1: NonNegative = 0.0
    """Factor of the sum of absolute kernel weights in the loss."""
    l2: NonNegative = 0.0
    """Factor of the sum of squared kernel weights in the loss."""
    early_stopping: EarlyStopping | None = None
    """Stop early and keep the best weights. Default: train all epochs and keep the last weights."""
    class_weights: Literal["balanced"] | Weights | None = None
    """Weights of the labels in the loss, one per label; `balanced` makes them inversely proportional to the label's
    frequency. Classifiers only. Default: equal weights."""
    augment: Augment = Augment()
    """Random changes of the training images."""
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """Type in which layers compute during training. Weights, the last layer and the saved model stay float32.
    `mixed_float16` scales the loss to keep small gradients (https://arxiv.org/abs/1710.03740)."""

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
        """Number of optimizer steps per epoch over `examples` examples."""
        return -(-examples // self.batch_size)
