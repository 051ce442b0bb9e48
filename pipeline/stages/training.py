"""What every stage that trains has in common: its settings, and a fit that can be interrupted at any moment.

Batches, augmentation and the random numbers of layers are functions of (seed, epoch, position), and after each epoch
all state is saved. So a training that was killed goes on from its last finished epoch to the same final bits.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from pipeline.errors import Fault, StageError
from pipeline.stage import Examples, Inputs, Stage, Strict
from pipeline.stages.batches import Augment, in_order, shuffled
from pipeline.stages.checkpoint import checkpoint
from pipeline.task import Shape, Task
from pipeline.tf import in_precision

if TYPE_CHECKING:
    import tensorflow as tf
    import tf_keras

    from pipeline.stages.teacher import Lesson

Share = Annotated[float, Field(ge=0, lt=1)]
Weights = Annotated[tuple[PositiveFloat, ...], Field(strict=False, min_length=2)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Constant(Strict):
    """The same learning rate throughout."""

    decay: Literal["constant"] = "constant"


class Cosine(Strict):
    """A linear warm-up, then half a cosine (Loshchilov and Hutter, https://arxiv.org/abs/1608.03983)."""

    decay: Literal["cosine"]
    warmup_epochs: NonNegative = 0.0
    """Epochs in which the rate rises from 0 to learning_rate."""
    final: Share = 0.0
    """Share of learning_rate that is left at the end."""


class Exponential(Strict):
    """The rate is multiplied by `factor` in every epoch, smoothly."""

    decay: Literal["exponential"]
    factor: Annotated[float, Field(gt=0, lt=1)]
    """What is left of the rate after an epoch."""


class Plateau(Strict):
    """The rate is multiplied by `factor` whenever val_loss has not improved for `patience` epochs."""

    decay: Literal["plateau"]
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """What is left of the rate."""
    patience: PositiveInt = 3
    """Epochs without improvement before the rate falls."""


class EarlyStopping(Strict):
    """Stop when nothing improves, and keep the weights of the best epoch."""

    monitor: Literal["val_loss", "val_accuracy", "val_mae"] = "val_loss"
    """The figure that must improve: val_accuracy is for classifiers, val_mae for regression."""
    patience: PositiveInt = 5
    """Epochs without improvement before training stops."""
    min_delta: NonNegative = 0.0
    """The least change that counts as an improvement."""


class Training(Stage):
    """Settings of a stage that trains."""

    libraries = ("tensorflow", "tf_keras", "tensorflow-model-optimization", "numpy")
    only_float32: ClassVar[str] = ""  # why a stage can't train in another precision

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
    def _settings_fit(self) -> "Training":
        if self.optimizer == "adamw" and not self.weight_decay:
            raise ValueError("weight_decay: must be above 0 for adamw, such as 0.004; without one it is adam")
        if isinstance(self.schedule, Cosine) and self.schedule.warmup_epochs >= self.epochs:
            raise ValueError(f"schedule.warmup_epochs: must be less than epochs, {self.epochs}")
        if self.only_float32 and self.precision != "float32":
            raise ValueError(f"precision: must be float32 here: {self.only_float32}")
        return self

    def unfit(self, task: Task) -> Iterator[tuple[tuple[str | int, ...], Fault]]:
        for name in () if task.decides else ("label_smoothing", "class_weights"):
            if value := getattr(self, name):
                yield (name,), Fault("is for classifiers", received=f"{value} for {task.name}", do="leave it out")
        monitors = ["val_loss", *(f"val_{name}" for name in task.curves)]
        if self.early_stopping and self.early_stopping.monitor not in monitors:
            rule = f"must be {' or '.join(monitors)} for {task.name}"
            yield ("early_stopping", "monitor"), Fault(rule, received=self.early_stopping.monitor)

    def steps(self, examples: Examples) -> int:
        """Optimizer steps an epoch."""
        return -(-len(examples) // self.batch_size)

    def lesson(self, inputs: Inputs) -> "Lesson | None":
        """What a teacher adds to the loss, where there is one."""
        return None


def fit(
    model: "tf_keras.Model",
    settings: Training,
    inputs: Inputs,
    from_logits: bool,
    callbacks: Sequence["tf_keras.callbacks.Callback"] = (),
) -> dict[str, list[float]]:
    """Train the model in place, from the last finished epoch on; returns its curves, a value an epoch.

    The weights of its layers are float32 whatever precision it is trained in. StageError when the loss is no longer a
    finite number.
    """
    learner = in_precision(model, settings.precision)
    train, validation = inputs.data.split("train"), inputs.data.split("validation")
    spec, outputs, steps = inputs.data.spec(), model.output_shape[1:], settings.steps(train)
    lesson = settings.lesson(inputs)
    trained = lesson.taught(learner, from_logits) if lesson else learner
    loss = loss_of(outputs, spec.task, from_logits, settings.label_smoothing)
    loss = _weighted(loss, learner, settings, lesson.alpha if lesson else 1.0)
    trained.compile(_optimizer(settings, steps), loss, metrics=list(spec.task.curves))
    stoppers = _stoppers(settings)
    saved = checkpoint(trained, stoppers, inputs)
    if not saved.finished:
        batches = shuffled(
            train,
            batch_size=settings.batch_size,
            task=spec.task,
            outputs=outputs,
            seed=inputs.seed,
            epochs=range(saved.epoch, settings.epochs),
            augment=settings.augment,
            weights=_label_weights(settings, train, len(spec.labels)),
        )
        trained.fit(
            batches,
            epochs=settings.epochs,
            initial_epoch=saved.epoch,
            steps_per_epoch=steps,
            validation_data=in_order(validation, settings.batch_size, spec.task, outputs),
            callbacks=[*callbacks, *stoppers, saved],
            verbose=0,
        )
    best = next((s.best_weights for s in stoppers if getattr(s, "best_weights", None) is not None), None)
    if best is not None:
        trained.set_weights(best)
    if learner is not model:
        model.set_weights(learner.get_weights())
    curves: dict[str, list[float]] = saved.curves
    return curves


def _optimizer(settings: Training, steps: int) -> "tf_keras.optimizers.Optimizer":
    from tf_keras import mixed_precision, optimizers

    rate = _rate(settings, steps)
    options: dict[str, Any] = {"global_clipnorm": settings.clip_norm, "jit_compile": False}
    if settings.weight_decay:
        options["weight_decay"] = settings.weight_decay
    if settings.optimizer == "sgd":
        optimizer = optimizers.SGD(rate, momentum=settings.momentum, **options)
    else:
        optimizer = {"adam": optimizers.Adam, "adamw": optimizers.AdamW}[settings.optimizer](rate, **options)
    if settings.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    if settings.precision == "mixed_float16":
        return mixed_precision.LossScaleOptimizer(optimizer)
    return optimizer


def _rate(settings: Training, steps: int) -> Any:
    from tf_keras.optimizers import schedules

    schedule, total = settings.schedule, settings.epochs * steps
    if isinstance(schedule, Cosine):
        warmup = round(schedule.warmup_epochs * steps)
        return schedules.CosineDecay(
            0.0 if warmup else settings.learning_rate,
            total - warmup,
            alpha=schedule.final,
            warmup_target=settings.learning_rate if warmup else None,
            warmup_steps=warmup,
        )
    if isinstance(schedule, Exponential):
        return schedules.ExponentialDecay(settings.learning_rate, steps, schedule.factor)
    return settings.learning_rate


def loss_of(outputs: Shape, task: Task, from_logits: bool, label_smoothing: float = 0.0) -> Any:
    """Cross entropy of labels, or the mean squared error of anything else."""
    from tf_keras import losses

    if not task.decides:
        return losses.MeanSquaredError()
    entropy = losses.BinaryCrossentropy if outputs == (1,) else losses.CategoricalCrossentropy
    return entropy(from_logits, label_smoothing=label_smoothing)


def _weighted(loss: Any, model: "tf_keras.Model", settings: Training, share: float) -> Any:
    """That share of the loss, with l1 and l2 of the kernels added."""
    import tensorflow as tf

    if share == 1 and not (settings.l1 or settings.l2):
        return loss
    kernels = [weight for weight in model.trainable_weights if "kernel" in weight.name]

    def weighted(truth: "tf.Tensor", output: "tf.Tensor") -> "tf.Tensor":
        total = share * loss.call(truth, output)  # of each example (n,), which Keras then multiplies by its weight
        for kernel in kernels:
            total += settings.l1 * tf.reduce_sum(tf.abs(kernel)) + settings.l2 * tf.reduce_sum(tf.square(kernel))
        return total

    return weighted


def _stoppers(settings: Training) -> list["tf_keras.callbacks.Callback"]:
    from tf_keras import callbacks

    found: list[tf_keras.callbacks.Callback] = []
    if isinstance(settings.schedule, Plateau):
        found.append(callbacks.ReduceLROnPlateau(factor=settings.schedule.factor, patience=settings.schedule.patience))
    if stop := settings.early_stopping:
        found.append(
            callbacks.EarlyStopping(
                stop.monitor, patience=stop.patience, min_delta=stop.min_delta, restore_best_weights=True
            )
        )
    return found


def _label_weights(settings: Training, train: Examples, classes: int) -> NDArray[np.float32] | None:
    """Weight of each label (classes,), with a mean of 1 over the examples; None for equal weights."""
    if settings.class_weights is None:
        return None
    labels = np.concatenate([train.batch(part)[1] for part in np.array_split(np.arange(len(train)), 64) if len(part)])
    counts = np.bincount(labels, minlength=classes)
    if settings.class_weights == "balanced":
        return np.asarray(len(labels) / (classes * np.maximum(counts, 1)), np.float32)
    if len(settings.class_weights) != classes:
        rule = f"class_weights must have one weight for each of {classes} labels"
        raise StageError(Fault(rule, received=str(len(settings.class_weights))))
    weights = np.array(settings.class_weights)
    return np.asarray(weights * len(labels) / (weights * counts).sum(), np.float32)
