"""Estimate the statistics of batch normalisation anew, from training examples as they are."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveInt

from pipeline import tf, units
from pipeline.errors import Fault
from pipeline.stage import Examples, Inputs, Progress
from pipeline.stages.batches import in_order
from pipeline.stages.follower import Finding, Follower
from pipeline.stages.sidecar import read_facts, write_facts
from pipeline.stages.training import loss_of

if TYPE_CHECKING:
    import tf_keras

BATCH = 256  # examples in memory at once; the result does not depend on it, but for the last bits
PASSED_ON = ("sparsity", "clusters", "quantized", "per_channel", "origin")  # facts on the model above that stay true


class Recalibrate(Follower):
    """Batch normalisation with the exact mean and variance of training examples without augmentation.

    In place of the moving averages of training, which lag behind the weights and saw augmented batches (PreciseBN: Wu
    and Johnson, https://arxiv.org/abs/2105.07576). One layer after the other, each behind layers that have theirs
    already, so the statistics are those that the layer meets when the model is used. Trains nothing. The report tells
    the figures on validation before and after. Behind qat it pays where weights have few bits: each step of training
    flips some from one value to the next, and moving averages lag behind that (Nagel et al.,
    https://arxiv.org/abs/2203.11086, section 3.3); rounded weights and ranges stay as they are.
    """

    takes = "keras"
    gives = "keras"
    libraries = ("tensorflow", "tf_keras", "tensorflow-model-optimization", "numpy")

    stage: Literal["recalibrate"]
    examples: PositiveInt = 1000
    """Training examples, drawn by the seed; all of them where there are not as many."""

    def examine(self, model: "tf_keras.Model") -> Iterator[Finding | str]:
        reasons = _reasons(model)
        if all(reasons.values()):
            received = "; ".join(f"{name} {why}" for name, why in reasons.items()) or "none"
            rule = "there is no batch normalisation whose statistics could be estimated"
            yield (), Fault(rule, received=received, do="leave the stage out")

    def run(self, inputs: Inputs, work: Path) -> None:
        tf.start(inputs.seed)
        model = tf.load_model(inputs.source.path / "model.h5")
        above = read_facts(inputs.source.path)
        self.refuse(model)
        reasons = _reasons(model)
        train = inputs.data.split("train")
        drawn = np.random.default_rng(inputs.seed).permutation(len(train))[: self.examples]
        before = _figures(model, inputs)
        rows = list(_estimated(model, reasons, train, np.sort(drawn), inputs))
        after = _figures(model, inputs)
        tf.save_model(model, work / "model.h5")
        kept = {name: above[name] for name in PASSED_ON if name in above}
        note = _note(before, after, sum(row["done"] for row in rows), len(drawn))
        write_facts(work, layers=rows, notes=[note], before=before, after=after, examples=len(drawn), **kept)


def _reasons(model: "tf_keras.Model") -> dict[str, str]:
    """Why each batch normalisation, in running order, is left alone; "" for those that are not."""
    import tf_keras

    kind = tf_keras.layers.BatchNormalization
    found = {layer.name: (layer, _norm_of(layer)) for layer in model.layers if isinstance(_norm_of(layer), kind)}
    reasons = {
        name: "" if len(layer.inbound_nodes) == 1 else "is used more than once" for name, (layer, _) in found.items()
    }
    norms = [norm for _, norm in found.values()]
    for layer in model._flatten_layers():
        if isinstance(layer, kind) and layer not in norms:
            reasons[layer.name] = "stands inside another layer or a nested model"
    return reasons


def _norm_of(layer: "tf_keras.layers.Layer") -> "tf_keras.layers.Layer":
    """The layer itself, or the one that quantization-aware training has wrapped."""
    return layer.layer if type(layer).__name__ == "QuantizeWrapperV2" else layer


def _estimated(
    model: "tf_keras.Model", reasons: dict[str, str], train: Examples, drawn: NDArray[np.int64], inputs: Inputs
) -> Iterator[dict[str, Any]]:
    """Set the statistics of each layer without a reason against it; a row for each."""
    import tf_keras

    for done, (name, why) in enumerate(reasons.items(), start=1):
        row: dict[str, Any] = {"layer": name, "kind": "BatchNormalization", "done": not why, "why": why}
        if not why:
            layer = _norm_of(model.get_layer(name))
            above = tf_keras.Model(model.inputs, model.get_layer(name).input)
            row["layer"] = layer.name
            batches = (train.batch(drawn[i : i + BATCH])[0] for i in range(0, len(drawn), BATCH))
            values = (np.asarray(above(x, training=False)) for x in batches)
            mean, variance = moments(values, axis=layer.axis[0])
            row["mean_moved"] = _moved(layer, mean)
            layer.moving_mean.assign(mean)
            layer.moving_variance.assign(variance)
        inputs.report(Progress("layer", done, len(reasons), {}))
        yield row


def moments(batches: Iterator[NDArray[np.floating]], axis: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and variance (channels,), without Bessel's correction, over everything but the axis of the channels.

    Batches are merged as by Chan, Golub and LeVeque, Updating Formulae and a Pairwise Algorithm for Computing Sample
    Variances, 1979, equations 2.1.
    """
    count, mean, squares = 0, np.zeros(()), np.zeros(())
    for batch in batches:
        values = np.moveaxis(batch.astype(np.float64), axis, -1).reshape(-1, batch.shape[axis])
        n, own = len(values), values.mean(axis=0)
        apart = own - mean
        squares = squares + ((values - own) ** 2).sum(axis=0) + apart**2 * (count * n / (count + n))
        mean = mean + apart * (n / (count + n))
        count += n
    return mean, squares / count


def _moved(layer: "tf_keras.layers.Layer", mean: NDArray[np.float64]) -> float:
    """The farthest that a channel's mean moves, in standard deviations of the former statistics."""
    deviation = np.sqrt(layer.moving_variance.numpy() + layer.epsilon)
    return float(np.max(np.abs(mean - layer.moving_mean.numpy()) / deviation))


def _figures(model: "tf_keras.Model", inputs: Inputs) -> dict[str, float]:
    """Loss and the task's own figures on validation."""
    spec, outputs = inputs.data.spec(), model.output_shape[1:]
    model.compile(loss=loss_of(outputs, spec.task, tf.gives_logits(model)), metrics=list(spec.task.curves))
    examples = in_order(inputs.data.split("validation"), BATCH, spec.task, outputs)
    found = model.evaluate(examples, verbose=0, return_dict=True)
    return {name: float(value) for name, value in found.items()}


def _note(before: dict[str, float], after: dict[str, float], layers: int, examples: int) -> str:
    name = list(before)[-1]  # the loss stands first
    show = units.percent if name == "accuracy" else units.number
    of = f"{layers} layer{'s' if layers > 1 else ''} and {units.whole(examples)} training examples"
    return f"validation {name} {show(before[name])} before, {show(after[name])} after, of {of}"
