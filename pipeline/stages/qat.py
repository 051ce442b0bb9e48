"""The stage `qat`: quantization-aware training."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pipeline.core.errors import Fault, PlacedFault
from pipeline.core.progress import step
from pipeline.data.source import Data, spread
from pipeline.keras import tf
from pipeline.keras.layer_choice import named
from pipeline.keras.surgery import graph, quantizers, ranges, rewrite
from pipeline.keras.surgery.flat import flat
from pipeline.keras.training.frozen import held, zeros_held
from pipeline.keras.training.tied import most_values, tied
from pipeline.keras.types import KerasLayer, KerasModel
from pipeline.stages.follower import nearest
from pipeline.stages.lineage import changed
from pipeline.stages.sidecar import read_facts, write_facts
from pipeline.stages.stage import KERAS, Inputs, Stage
from pipeline.stages.taught import Taught

RANGE_EXAMPLES = 512  # training examples that the initial ranges are measured on
LEAK = 0.01  # lost share of a kernel's zeros from which on there is a note


class Qat(Taught):
    """Quantization-aware training, which simulates 8-bit rounding (Jacob et al., https://arxiv.org/abs/1712.05877).

    The network is first rewritten, with equal outputs, into layers that have int8 kernels: nested models are flattened,
    activations and raw TensorFlow ops become separate layers, and a batch normalisation without a kernel before it
    becomes a depthwise 1x1 convolution. tfmot's wrappers then round what TFLite rounds, with initial ranges measured on
    training examples. Layers that tfmot can't train this way are left to calibration at conversion and listed in the
    report.
    """

    takes = "keras"
    gives = "keras"
    only_float32 = "tfmot rounds weights and activations in float32 alone"
    not_behind: ClassVar[Mapping[str, str]] = {"qat": "the model is trained quantization-aware already"}
    renames = True

    stage: Literal["qat"]
    preserve: Literal["sparsity", "clusters", "both", "none"] | None = None
    """Keep the zeros of a pruned model, the shared weights of a clustered one, or both. Default: whatever the prune and
    cluster stages above made."""

    per_channel: bool = True
    """Round a convolution's weights with one scale per channel; false: one scale per layer, as some accelerators
    require. False needs a network without batch normalisation, whose factors would again give each channel its own
    scale: put an equalize stage above."""
    weight_bits: Literal[4, 8] = 8
    """Bits of the weights of convolutions and dense layers; 4 halves the file. Activations have 8 bits, biases 32."""
    keep_8: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Layers that keep 8-bit weights when `weight_bits` is 4: names or patterns (`block1*`)."""

    @model_validator(mode="after")
    def _bits_fit(self) -> "Qat":
        if self.keep_8 and self.weight_bits == 8:
            raise ValueError("keep_8: has no effect where weight_bits is 8")
        return self

    def unfit_behind(self, above: Sequence[Stage]) -> Iterator[PlacedFault]:
        yield from super().unfit_behind(above)
        if self.preserve in ("clusters", "both") and not nearest(above, "cluster"):
            yield ("preserve",), Fault(f"{self.preserve} needs a cluster stage above", received="none")

    def layers_named(self) -> Mapping[str, Iterable[str]]:
        return {"keep_8": self.keep_8}

    def examine(self, model: KerasModel) -> Iterator[PlacedFault | str]:
        network = rewrite.quantizable(flat(model))
        wrapped = quantizers.Quantized(False)
        kernels = _weight_quantizers(wrapped.model(network.model))
        left = {network.origin[name]: why for name, why in wrapped.left.items()}
        yield from () if self.per_channel else _unfolded(network)
        yield from _rounded_ids(network)
        yield from _unconvertible(network)
        if not kernels:
            yield from _no_kernels(left)
        elif left:
            rows = "; ".join(f"{name}: {why}" for name, why in left.items())
            yield f"will leave {len(left)} layer{'s' if len(left) > 1 else ''} to calibration: {rows}"

    def leaves(self, model: KerasModel) -> None:
        return None

    def run(self, inputs: Inputs, work: Path) -> None:
        tf.start(inputs.seed)
        model = flat(tf.load_model(inputs.source.keras))
        above = read_facts(inputs.source.path)
        pruned: dict[str, float] = above.get("sparsity", {})
        preserve = self.preserve in ("sparsity", "both") or (self.preserve is None and bool(pruned))
        clustered: dict[str, int] = above.get("clusters", {})
        self.check(self.unmatched(model))
        step("rewriting the network")
        examples = list(self._examples(inputs.data))
        network = rewrite.quantizable(model, examples)
        bits = self._bits(model, network)
        self.check((*(() if self.per_channel else _unfolded(network)), *_rounded_ids(network)))
        wrapped = quantizers.Quantized(preserve, bits, self.per_channel)
        quantized = wrapped.model(network.model)
        left = {network.origin[name]: why for name, why in wrapped.left.items()}
        kernels: dict[str, list[Any]] = {}
        for name, weight, _ in _weight_quantizers(quantized):
            kernels.setdefault(network.origin[name], []).append(weight)
        if not kernels:
            self.check(_no_kernels(left))
        shared = {name: kernel for name, kernel in kernels.items() if name in clustered}
        together = self.preserve in (None, "clusters", "both")
        keep = [tied([each for several in shared.values() for each in several])] if together else []
        frozen = {layer.name for layer in model.layers if layer.weights and not layer.trainable}
        keep += [held(_weights_of(quantized, frozen, network.origin))] if frozen else []
        sparse = _sparse_kernels(quantized, network.origin, changed(inputs.source, "pruned"))
        loose = [kernel for name, each in sparse.items() for kernel in each if name not in kernels]
        keep += [zeros_held(loose)] if preserve and loose else []
        wrapped.set_ranges(ranges.measure(network.model, wrapped.ranged, examples))
        curves = self.fit(quantized, inputs, tf.gives_logits(model), keep)
        if preserve:
            _bake_zeros(quantized)
        few = {network.origin[name]: count for name, count in bits.items()}
        trained = [layer for layer in model.layers if layer.weights or layer.name in left]
        kept = {name: _zeros(each) for name, each in sparse.items()}
        tf.save_model(quantized, work / KERAS)
        write_facts(
            work,
            curves,
            [_row(layer, left.get(layer.name, ""), kept, few.get(layer.name, 8)) for layer in trained],
            [
                *(f"{name} is left to calibration: {why}" for name, why in left.items()),
                *_notes(pruned, kept, preserve),
                *_untied(clustered, shared),
                *_frozen(frozen),
            ],
            sparsity=kept,
            clusters={name: max(map(most_values, several)) for name, several in shared.items()},
            quantized=True,
            per_channel=self.per_channel,
            origin=dict(network.origin),
        )

    def _bits(self, model: KerasModel, network: rewrite.Network) -> dict[str, int]:
        """Layer of the rewritten network -> bits of its weights, for layers with fewer than 8."""
        if self.weight_bits == 8:
            return {}
        few = [layer.name for layer in network.model.layers if type(layer).__name__ in quantizers.FEW_BITS]
        wide = named(model, self.keep_8)
        return {name: self.weight_bits for name in few if network.origin[name] not in wide}

    def _examples(self, data: Data) -> Iterator[NDArray[np.float32]]:
        """Batches of training examples (n, ...), without augmentation, to measure the initial ranges on."""
        train = data.split("train")
        positions = spread(len(train), RANGE_EXAMPLES)
        for start in range(0, len(positions), self.batch_size):
            yield train.batch(positions[start : start + self.batch_size])[0]


def _weights_of(quantized: KerasModel, names: Collection[str], origin: Mapping[str, str]) -> list[Any]:
    """Trainable weights of the layers that stand for those of these names in the model as it was given."""
    layers = (layer for layer in quantized.layers if origin.get(getattr(layer, "layer", layer).name) in names)
    return [weight for layer in layers for weight in layer.trainable_weights]


def _frozen(names: Collection[str]) -> Iterator[str]:
    """A note on layers that are not trained."""
    if names:
        listed = ", ".join(sorted(names)[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        yield f"frozen, so their weights stay as they are, and only the ranges of their results are learnt: {listed}"


def _unconvertible(network: rewrite.Network) -> Iterator[PlacedFault]:
    """A fault for each layer whose weights the converter can't quantize among layers that have learnt their ranges."""
    for layer in network.model.layers:
        kind, name = type(layer).__name__, network.origin[layer.name]
        if kind in ("MultiHeadAttention", "EinsumDense"):
            rule = f"can't train the {kind} {name!r} quantization-aware, nor convert it behind layers that are"
            received = {
                "MultiHeadAttention": "a mask that depends on the data, or other axes than all positions",
                "EinsumDense": f"the equation {getattr(layer, 'equation', '')}",
            }[kind]
            do = "convert the stage above without qat, or use a causal or constant mask, or Dense layers"
            yield (), Fault(rule, received=received, do=do)


def _no_kernels(left: dict[str, str]) -> Iterator[PlacedFault]:
    rule = "there is no layer that can be trained quantization-aware"
    yield (), Fault(rule, received="; ".join(f"{name}: {why}" for name, why in left.items()) or "none with weights")


def _unfolded(network: rewrite.Network) -> Iterator[PlacedFault]:
    """A fault if batch normalisation is left: folded at conversion, it would rescale each channel's rounded weights."""
    kind = "BatchNormalization"
    found = [network.origin[layer.name] for layer in network.model.layers if type(layer).__name__ == kind]
    if found:
        rule = "false needs a network whose batch normalisation is folded into its kernels"
        do = "put an equalize stage above, which folds it"
        yield ("per_channel",), Fault(rule, received=", ".join(found[:5]), do=do)


def _rounded_ids(network: rewrite.Network) -> Iterator[PlacedFault]:
    """A fault if a table looks up values of an input that is rounded, because other layers compute with it."""
    tables = (layer for layer in network.model.layers if quantizers.role(layer) == "table")
    found = [network.origin[layer.name] for layer in tables if layer.input.dtype.is_floating]
    if found:
        rule = "an input that is rounded to 8 bits can't hold ids, which an Embedding looks up beside other layers"
        do = "bring a network whose only input goes into the Embedding, or leave qat out"
        yield (), Fault(rule, received=", ".join(found), do=do)


def _bake_zeros(model: KerasModel) -> None:
    """Apply tfmot's sparsity masks to the kernels, because a saved model does not contain the masks."""
    for _, weight, variables in _weight_quantizers(model):
        if "sparsity_mask" in variables:
            weight.assign(weight * variables["sparsity_mask"])


def _weight_quantizers(model: KerasModel) -> list[tuple[str, Any, dict[str, Any]]]:
    """Each weight that is rounded: its layer's name before quantization, the variable, its quantizer's variables."""
    return [
        (layer.layer.name, weight, variables)
        for layer in model.layers
        for weight, _, variables in getattr(layer, "_weight_vars", ())
    ]


def _sparse_kernels(
    quantized: KerasModel, origin: Mapping[str, str], pruned: Mapping[str, Collection[int]]
) -> dict[str, list[Any]]:
    """The kernels that a prune stage pruned, by the name of their layer in the model as it was given.

    pruned: layer -> number of weights of each of its pruned kernels
    """
    found: dict[str, list[Any]] = {}
    for layer in quantized.layers:
        own = graph.own_name(layer)
        name = origin.get(own, own)
        for weight in [each for each, _, _ in getattr(layer, "_weight_vars", ())] or layer.weights:
            depthwise = weight.name.rpartition("/")[2].startswith("depthwise")  # a kernel that no stage prunes
            if not depthwise and np.prod(weight.shape) in pruned.get(name, ()):
                found.setdefault(name, []).append(weight)
    return found


def _zeros(kernels: Sequence[Any]) -> float:
    """Share of zeros among the weights of several kernels."""
    return float(np.mean(np.concatenate([kernel.numpy().ravel() == 0 for kernel in kernels])))


def _row(layer: KerasLayer, why: str, kept: dict[str, float], bits: int) -> dict[str, Any]:
    row: dict[str, Any] = {"layer": layer.name, "kind": type(layer).__name__, "done": not why, "why": why}
    row |= {"weight_bits": bits} if layer.weights and not why else {}
    return row | ({"sparsity": kept[layer.name]} if layer.name in kept else {})


def _notes(pruned: dict[str, float], kept: dict[str, float], preserve: bool) -> Iterator[str]:
    for name, after in kept.items():
        before = pruned.get(name, 0.0)
        if before - after > LEAK:
            cause = "" if preserve else "; `preserve: sparsity` keeps them"
            yield f"{name} went from {before:.1%} to {after:.1%} zeros{cause}"


def _untied(before: dict[str, int], after: dict[str, Any]) -> Iterator[str]:
    for name, values in before.items():
        if name not in after:
            yield f"{name} is not trained quantization-aware: its {values} shared weights are not kept"
        elif (now := max(map(most_values, after[name]))) > values:
            yield f"{name} went from {values} to {now} different weights a channel; `preserve: clusters` keeps them"
