"""Quantization-aware training."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline import surgery, tf
from pipeline.errors import Fault, StageError
from pipeline.stage import Data, Inputs
from pipeline.stages.sidecar import read_facts, write_facts
from pipeline.stages.training import Training, fit

if TYPE_CHECKING:
    import tf_keras

RANGE_EXAMPLES = 512  # training examples from which the ranges start
LEAK = 0.01  # loss of zeros in a kernel that is worth a note


class Qat(Training):
    """Quantization-aware training with 8-bit rounding simulated (Jacob et al., https://arxiv.org/abs/1712.05877).

    The network is first put into layers that have int8 kernels, with equal outputs: nested models are opened,
    activations and raw TensorFlow ops get layers of their own, a normalisation that stands alone becomes a depthwise
    1x1 convolution. tfmot's wrappers then round what TFLite rounds, with ranges that start from training examples.
    Layers for which there is no such training are left to calibration at conversion and named in the report.
    """

    takes = "keras"
    gives = "keras"

    stage: Literal["qat"]
    preserve: Literal["sparsity", "none"] | None = None
    """Keep the zeros of a pruned model; chosen by itself after a prune stage when left out."""

    def run(self, inputs: Inputs, work: Path) -> None:
        tf.start(inputs.seed)
        model = surgery.flat(tf.load_model(inputs.source.path / "model.h5"))
        pruned: dict[str, float] = read_facts(inputs.source.path).get("sparsity", {})
        preserve = self.preserve == "sparsity" or (self.preserve is None and bool(pruned))
        network = surgery.quantizable(model)
        wrapped = surgery.Quantized(preserve)
        quantized = wrapped.model(network.model)
        left = {network.origin[name]: why for name, why in wrapped.left.items()}
        if not _weight_quantizers(quantized):
            rule = "there is no layer that can be trained quantization-aware"
            raise StageError(Fault(rule, received="; ".join(f"{name}: {why}" for name, why in left.items())))
        wrapped.set_ranges(surgery.measure_ranges(network.model, wrapped.ranged, list(self._examples(inputs.data))))
        curves = fit(quantized, self, inputs, tf.gives_logits(model))
        if preserve:
            _bake_zeros(quantized)
        trained = [layer for layer in model.layers if layer.weights or layer.name in left]
        zeros = {network.origin[name]: fraction for name, fraction in _sparsity(quantized)}
        kept = {name: fraction for name, fraction in zeros.items() if name in pruned}
        tf.save_model(quantized, work / "model.h5")
        write_facts(
            work,
            curves,
            [_row(layer, left.get(layer.name, ""), kept) for layer in trained],
            [*(f"{name} is left to calibration: {why}" for name, why in left.items()), *_notes(pruned, kept, preserve)],
            sparsity=kept,
            quantized=True,
        )

    def _examples(self, data: Data) -> Iterator[NDArray[np.float32]]:
        """Batches of training examples, without augmentation, from which the ranges start."""
        train = data.split("train")
        count = min(len(train), RANGE_EXAMPLES)
        positions = np.unique(np.linspace(0, len(train) - 1, count).astype(np.int64))
        for start in range(0, len(positions), self.batch_size):
            yield train.batch(positions[start : start + self.batch_size])[0]


def _bake_zeros(model: "tf_keras.Model") -> None:
    """Write the masks of the prune-preserving scheme into the kernels: a saved model does not carry them."""
    for _, weight, variables in _weight_quantizers(model):
        if "sparsity_mask" in variables:
            weight.assign(weight * variables["sparsity_mask"])


def _weight_quantizers(model: "tf_keras.Model") -> list[tuple[str, Any, dict[str, Any]]]:
    """Each weight that is rounded in training: its layer's name before quantization, itself, its quantizer's state."""
    return [
        (layer.layer.name, weight, variables)
        for layer in model.layers
        for weight, _, variables in getattr(layer, "_weight_vars", ())
    ]


def _sparsity(model: "tf_keras.Model") -> Iterator[tuple[str, float]]:
    """Share of zeros in each quantized kernel, by the name of the layer before quantization."""
    for name, weight, _ in _weight_quantizers(model):
        yield name, float(np.mean(weight.numpy() == 0))


def _row(layer: "tf_keras.layers.Layer", why: str, kept: dict[str, float]) -> dict[str, Any]:
    row: dict[str, Any] = {"layer": layer.name, "kind": type(layer).__name__, "done": not why, "why": why}
    return row | ({"sparsity": kept[layer.name]} if layer.name in kept else {})


def _notes(pruned: dict[str, float], kept: dict[str, float], preserve: bool) -> Iterator[str]:
    for name, before in pruned.items():
        after = kept.get(name, 0.0)
        if before - after > LEAK:
            cause = "" if preserve else "; `preserve: sparsity` keeps them"
            yield f"{name} went from {before:.1%} to {after:.1%} zeros{cause}"
