"""Quantization-aware training."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pipeline import tf
from pipeline.errors import Fault, StageError
from pipeline.stage import Inputs
from pipeline.stages.sidecar import read_facts, write_facts
from pipeline.stages.teacher import Taught
from pipeline.stages.training import fit

if TYPE_CHECKING:
    import tf_keras

LEAK = 0.01  # loss of zeros in a kernel that is worth a note


class Qat(Taught):
    """Train on with 8-bit rounding simulated (Jacob et al., https://arxiv.org/abs/1712.05877), with tfmot.

    Layers that tfmot can't quantize are left to calibration at conversion and named in the report.
    """

    takes = "keras"
    gives = "keras"
    only_float32 = "tfmot rounds weights and activations in float32 alone"

    stage: Literal["qat"]
    preserve: Literal["sparsity", "none"] | None = None
    """Keep the zeros of a pruned model; chosen by itself after a prune stage when left out."""

    def run(self, inputs: Inputs, work: Path) -> None:
        tf.start(inputs.seed)
        model = tf.load_model(inputs.source.path / "model.h5")
        pruned: dict[str, float] = read_facts(inputs.source.path).get("sparsity", {})
        preserve = self.preserve == "sparsity" or (self.preserve is None and bool(pruned))
        reasons = {layer.name: _reason(layer) for layer in model.layers}
        if all(reasons.values()):
            raise StageError(Fault("there is no layer that tfmot can train quantization-aware", received=str(reasons)))
        quantized = _quantize(model, reasons, preserve)
        curves = fit(quantized, self, inputs, tf.gives_logits(model))
        if preserve:
            _bake_zeros(quantized)
        kept = {name: fraction for name, fraction in _sparsity(quantized) if name in pruned}
        tf.save_model(quantized, work / "model.h5")
        write_facts(
            work,
            curves,
            [_row(layer, reasons[layer.name], kept) for layer in model.layers if layer.weights or reasons[layer.name]],
            list(_notes(pruned, kept, preserve)),
            sparsity=kept,
            quantized=True,
        )


def _reason(layer: "tf_keras.layers.Layer") -> str:
    """Why a layer is not trained quantization-aware; "" when it is."""
    import tf_keras
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
        default_8bit_quantize_registry as registry,
    )

    if isinstance(layer, tf_keras.layers.InputLayer):
        return ""
    if isinstance(layer, tf_keras.layers.BatchNormalization):
        return "" if _foldable(layer) else "normalises what is not the linear output of a convolution or dense layer"
    if registry.Default8BitQuantizeRegistry().supports(layer):
        return ""
    return f"tfmot can't quantize {type(layer).__name__}"


def _foldable(norm: "tf_keras.layers.Layer") -> bool:
    """Whether tfmot folds a BatchNormalization: it stands right behind a linear convolution or dense layer."""
    from tf_keras import activations, layers

    (node,) = norm.inbound_nodes
    before = node.inbound_layers
    kinds = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D, layers.Dense)
    return isinstance(before, kinds) and before.activation is activations.linear and len(before.outbound_nodes) == 1


def _quantize(model: "tf_keras.Model", reasons: dict[str, str], preserve: bool) -> "tf_keras.Model":
    """The model with tfmot's wrappers around the layers that have no reason against it."""
    import tensorflow_model_optimization as tfmot
    import tf_keras

    def annotate(layer: "tf_keras.layers.Layer") -> "tf_keras.layers.Layer":
        if reasons[layer.name] or isinstance(layer, tf_keras.layers.InputLayer):
            return layer
        return tfmot.quantization.keras.quantize_annotate_layer(layer)

    annotated = tf_keras.models.clone_model(model, clone_function=annotate)
    if not preserve:
        return tfmot.quantization.keras.quantize_apply(annotated)
    scheme = tfmot.experimental.combine.Default8BitPrunePreserveQuantizeScheme()
    return tfmot.quantization.keras.quantize_apply(annotated, scheme)


def _bake_zeros(model: "tf_keras.Model") -> None:
    """Write the masks of the prune-preserving scheme into the kernels: a saved model does not carry them."""
    for layer in model.layers:
        for weight, _, variables in getattr(layer, "_weight_vars", ()):
            if "sparsity_mask" in variables:
                weight.assign(weight * variables["sparsity_mask"])


def _sparsity(model: "tf_keras.Model") -> Iterator[tuple[str, float]]:
    """Share of zeros in each quantized kernel, by the name of the layer before quantization."""
    for layer in model.layers:
        for weight, _, _ in getattr(layer, "_weight_vars", ()):
            yield layer.layer.name, float(np.mean(weight.numpy() == 0))


def _row(layer: "tf_keras.layers.Layer", why: str, kept: dict[str, float]) -> dict[str, Any]:
    row: dict[str, Any] = {"layer": layer.name, "kind": type(layer).__name__, "done": not why, "why": why}
    return row | ({"sparsity": kept[layer.name]} if layer.name in kept else {})


def _notes(pruned: dict[str, float], kept: dict[str, float], preserve: bool) -> Iterator[str]:
    for name, before in pruned.items():
        after = kept.get(name, 0.0)
        if before - after > LEAK:
            cause = "" if preserve else "; `preserve: sparsity` keeps them"
            yield f"{name} went from {before:.1%} to {after:.1%} zeros{cause}"
