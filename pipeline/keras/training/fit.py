"""Train a model, so that the training can be interrupted at any moment.

Batches, augmentation and the random numbers of layers are functions of (seed, epoch, position), and all state is saved
after each epoch. So a training that was killed resumes after its last finished epoch and ends with the same bits.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import Fault, StageError
from pipeline.core.progress import Progress, step
from pipeline.data.source import Data, Examples
from pipeline.data.tasks.task import Shape, Task
from pipeline.keras.tf import in_precision
from pipeline.keras.training.batches import in_order, shuffled
from pipeline.keras.training.checkpoint import checkpoint
from pipeline.keras.training.settings import Cosine, Exponential, Plateau, TrainingSettings
from pipeline.keras.training.unpredicted import unpredicted

if TYPE_CHECKING:
    import tensorflow as tf
    import tf_keras

    from pipeline.keras.training.lesson import Lesson


def fit(
    model: "tf_keras.Model",
    settings: TrainingSettings,
    data: Data,
    seed: int,
    from_logits: bool,
    resume: Path,
    report: Callable[[Progress], None],
    callbacks: Sequence["tf_keras.callbacks.Callback"] = (),
    lesson: "Lesson | None" = None,
) -> dict[str, list[float]]:
    """Train the model in place, from the last finished epoch on. Returns its curves: name -> a value per epoch.

    Weights are float32 afterwards, whatever the precision of training. Raises StageError if the loss is not finite.

    from_logits  whether the model's outputs are logits
    resume       a directory that survives a crash, for the state after each epoch
    report       receives the progress of epochs and batches
    callbacks    further Keras callbacks, which run before the checkpoint
    lesson       what a teacher adds to the loss; None without a teacher
    """
    learner = in_precision(model, settings.precision)
    train, validation = data.split("train"), data.split("validation")
    spec, outputs, steps = data.spec(), model.output_shape[1:], settings.steps(len(train))
    trained = lesson.taught(learner, from_logits) if lesson else learner
    loss = loss_of(outputs, spec.task, from_logits, settings.label_smoothing)
    loss = _weighted(loss, learner, settings, lesson.alpha if lesson else 1.0)
    metrics = [*spec.task.curves, *((unpredicted(outputs, from_logits),) if spec.task.decides else ())]
    trained.compile(_optimizer(settings, steps), loss, metrics=metrics)
    stoppers, validated = _stoppers(settings), in_order(validation, settings.batch_size, spec.task, outputs)
    saved = checkpoint(trained, stoppers, seed, resume, report, (steps, int(validated.cardinality())))
    if not saved.finished:
        step("preparing the training")
        batches = shuffled(
            train,
            batch_size=settings.batch_size,
            task=spec.task,
            outputs=outputs,
            seed=seed,
            epochs=range(saved.epoch, settings.epochs),
            augment=settings.augment,
            weights=_label_weights(settings, train, len(spec.labels)),
        )
        trained.fit(
            batches,
            epochs=settings.epochs,
            initial_epoch=saved.epoch,
            steps_per_epoch=steps,
            validation_data=validated,
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


def _optimizer(settings: TrainingSettings, steps: int) -> "tf_keras.optimizers.Optimizer":
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


def _rate(settings: TrainingSettings, steps: int) -> Any:
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
    """The Keras loss: cross entropy for classifiers, mean squared error for other tasks."""
    from tf_keras import losses

    if not task.decides:
        return losses.MeanSquaredError()
    entropy = losses.BinaryCrossentropy if outputs == (1,) else losses.CategoricalCrossentropy
    return entropy(from_logits, label_smoothing=label_smoothing)


def _weighted(loss: Any, model: "tf_keras.Model", settings: TrainingSettings, share: float) -> Any:
    """`share` times the loss, plus the l1 and l2 terms of the kernels."""
    import tensorflow as tf

    if share == 1 and not (settings.l1 or settings.l2):
        return loss
    kernels = [weight for weight in model.trainable_weights if "kernel" in weight.name]

    def weighted(truth: "tf.Tensor", output: "tf.Tensor") -> "tf.Tensor":
        total = share * loss.call(truth, output)  # per example (n,), before Keras applies example weights
        for kernel in kernels:
            total += settings.l1 * tf.reduce_sum(tf.abs(kernel)) + settings.l2 * tf.reduce_sum(tf.square(kernel))
        return total

    return weighted


def _stoppers(settings: TrainingSettings) -> list["tf_keras.callbacks.Callback"]:
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


def _label_weights(settings: TrainingSettings, train: Examples, classes: int) -> NDArray[np.float32] | None:
    """Weight of each label (classes,), with a mean of 1 over the examples; None for equal weights.

    Raises StageError if their number differs from the number of labels.
    """
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
