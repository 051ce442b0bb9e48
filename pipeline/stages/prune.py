"""The stage `prune`: set the smallest weights to zero while training goes on."""

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from pipeline.core.errors import Fault, PlacedFault, StageError
from pipeline.core.settings import Share
from pipeline.keras import tf
from pipeline.keras.layer_choice import FROZEN, choose, nothing
from pipeline.keras.pruning import admm, magnitude, zeros
from pipeline.keras.surgery.flat import flat
from pipeline.keras.types import KerasLayer, KerasModel
from pipeline.stages.sidecar import read_facts, write_facts
from pipeline.stages.stage import KERAS, Inputs
from pipeline.stages.taught import APART, WRAPPED, Taught

TOLERANCE = 0.01  # allowed difference of achieved and requested sparsity, besides the rounding to whole weights
Block = Annotated[tuple[PositiveInt, ...], Field(strict=False, min_length=2, max_length=2)]
SLOW = "zeros alone make no model faster here: the kernels multiply by them too; channel_prune takes channels out"


class Prune(Taught):
    """Set small weights to zero: magnitude pruning (Zhu and Gupta, https://arxiv.org/abs/1710.01878) with tfmot."""

    takes = "keras"
    gives = "keras"
    not_behind: ClassVar[Mapping[str, str]] = {"cluster": APART, "qat": WRAPPED}

    stage: Literal["prune"]
    sparsity: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Final share of zeros in each pruned kernel, a fraction; the stage fails if it is missed. Required, except with
    `m_by_n`."""
    method: Literal["magnitude", "admm"] = "magnitude"
    """`magnitude` sets the smallest weights to zero along a ramp. `admm` pulls the weights towards a solution with the
    requested zeros until `end`, then fixes the zeros (Zhang et al., https://arxiv.org/abs/1804.03294)."""
    rho: PositiveFloat = 0.01
    """Strength of the pull of `admm`: factor of its penalty, in units of the loss per squared weight."""
    layers: dict[str, Share] = Field(default={})
    """Sparsity of single layers: layer name or pattern -> share of zeros, 0 for none. The last match applies."""
    m_by_n: Block | None = None
    """Structured sparsity, instead of `sparsity`: [2, 4] sets 2 of each 4 consecutive inputs of a unit to zero, a
    pattern that some processors skip."""
    block_size: Block = (1, 1)
    """Prune blocks of this many weights, [inputs, units], of dense layers and of each position of a convolution's
    kernel. Consecutive inputs of a unit are neighbours in the file, so [8, 1] leaves runs of zeros, which compress
    best."""
    block_pooling: Literal["avg", "max"] = "avg"
    """Magnitude of a block: the mean or the maximum of its absolute weights."""
    policy: Literal["xnnpack_latency"] | None = None
    """`xnnpack_latency` prunes only 1x1 convolutions, and refuses a model that XNNPACK can't run sparse as a whole."""
    ramp: zeros.Ramp = "polynomial"
    """How the sparsity rises: along a polynomial from `initial_sparsity`, in equal steps (`gradual`), or at once at
    `begin` (`constant`). `m_by_n` has no ramp."""
    rises: PositiveInt = 4
    """Number of steps of the ramp `gradual`."""
    initial_sparsity: Share = 0.0
    """Share of zeros at the beginning of the ramp, a fraction."""
    power: PositiveFloat = 3.0
    """Exponent of the ramp `polynomial`."""
    begin: Share = 0.0
    """When pruning begins, a fraction of the training."""
    end: Annotated[float, Field(gt=0, le=1)] = 0.75
    """When the set of zeros is final, a fraction of the training; the rest lets the model recover."""
    skip: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Layers to leave unchanged: names or patterns such as `block1_*`."""
    prune_output: bool = False
    """Also prune the last layer with weights, to which accuracy is usually most sensitive."""
    min_weights: Annotated[int, Field(ge=0)] = 500
    """Smallest number of weights of a layer to be pruned; smaller layers save little."""

    @model_validator(mode="after")
    def _pattern_fits(self) -> "Prune":
        if (self.sparsity is None) == (self.m_by_n is None):
            raise ValueError("sparsity: give either sparsity or m_by_n")
        if self.m_by_n and self.m_by_n[0] >= self.m_by_n[1]:
            raise ValueError("m_by_n: the zeros must be fewer than the weights they are among, such as [2, 4]")
        if self.m_by_n and self.block_size != (1, 1):
            raise ValueError("block_size: is not for m_by_n")
        if self.method == "admm" and (self.m_by_n or self.block_size != (1, 1) or self.begin or self.initial_sparsity):
            raise ValueError("method: admm has no m_by_n, block_size, begin and initial_sparsity")
        if self.method == "admm" and not 0 < self.drawn < self.epochs:
            raise ValueError("epochs: must leave at least one before and one after `end` for admm")
        if self.m_by_n and any(self.layers.values()):
            raise ValueError("layers: can only be 0, to leave a layer alone, with m_by_n")
        return self

    @model_validator(mode="after")
    def _ramp_rises(self) -> "Prune":
        if self.begin >= self.end:
            raise ValueError(f"begin: must be less than end, {self.end}")
        least = min(filter(None, [self.sparsity, *self.layers.values()]), default=1.0)
        if self.initial_sparsity >= least:
            raise ValueError(f"initial_sparsity: must be less than sparsity, {least}")
        return self

    def target(self, name: str) -> float:
        """The requested sparsity of the layer of that name, a fraction."""
        usual = self.m_by_n[0] / self.m_by_n[1] if self.m_by_n else self.sparsity or 0.0
        return next((self.layers[pattern] for pattern in reversed(self.layers) if fnmatchcase(name, pattern)), usual)

    @property
    def drawn(self) -> int:
        """Number of epochs in which `admm` pulls the weights."""
        return round(self.end * self.epochs)

    def layers_named(self) -> Mapping[str, Iterable[str]]:
        return {"skip": self.skip, "layers": self.layers}

    def examine(self, model: KerasModel) -> Iterator[PlacedFault | str]:
        model = flat(model)
        if self.policy:
            yield from ((("policy",), fault) for fault in zeros.xnnpack_faults(model))
        yield from nothing(choose(model, self.skip, self._reason), "prune")

    def leaves(self, model: KerasModel) -> KerasModel:
        return flat(model)

    def run(self, inputs: Inputs, work: Path) -> None:
        tf.start(inputs.seed)
        model = flat(tf.load_model(inputs.source.keras))
        self.refuse(model)
        reasons = choose(model, self.skip, self._reason)
        curves, model = (self._drawn if self.method == "admm" else self._ramped)(model, reasons, inputs)
        layers = list(self._achieved(model, reasons))
        tf.save_model(model, work / KERAS)
        sparsity = {row["layer"]: row["sparsity"] for row in layers if row["done"]}
        notes = [SLOW, *_lost(read_facts(inputs.source.path).get("sparsity", {}), sparsity, model)]
        kernels = {name: magnitude.kernels(model.get_layer(name)) or () for name in sparsity}
        pruned = {name: [int(np.prod(kernel.shape)) for kernel in each] for name, each in kernels.items()}
        write_facts(work, curves, layers, notes, sparsity=sparsity, pruned=pruned)

    def _ramped(
        self, model: KerasModel, reasons: dict[str, str], inputs: Inputs
    ) -> tuple[dict[str, list[float]], KerasModel]:
        """The curves and the model after magnitude pruning."""
        steps = self.epochs * self.steps(len(inputs.data.split("train")))
        if self.block_size != (1, 1):
            zeros.prune_convolutions_in_blocks()

        pruned = {name: self._pruning(name, steps) for name, why in reasons.items() if not why}
        wrapped = magnitude.wrapped(model, pruned)
        curves = self.fit(wrapped, inputs, tf.gives_logits(model), [magnitude.step()])
        return curves, magnitude.stripped(wrapped)

    def _drawn(
        self, model: KerasModel, reasons: dict[str, str], inputs: Inputs
    ) -> tuple[dict[str, list[float]], KerasModel]:
        """The curves and the model after ADMM."""
        trained = tf.copy_model(model)
        kernels = [
            (kernel, self.target(layer.name))
            for layer in trained.layers
            for kernel in (() if reasons[layer.name] else magnitude.kernels(layer) or ())
        ]
        step = admm.callback(trained, kernels, self.rho, self.drawn)
        curves = self.fit(trained, inputs, tf.gives_logits(model), [step])
        for layer in model.layers:  # `model` has no ADMM variables
            layer.set_weights(trained.get_layer(layer.name).get_weights())
        return curves, model

    def _reason(self, layer: KerasLayer, output: bool) -> str:
        kernels = magnitude.kernels(layer)
        if not layer.weights:
            return "has no weights"
        if kernels is None:
            return f"tfmot can't prune {type(layer).__name__}"
        if not kernels:
            return f"{type(layer).__name__} has no kernel that tfmot prunes"
        if not layer.trainable:
            return FROZEN
        if output and not self.prune_output:
            return "is the output layer; prune_output: true prunes it"
        if self.target(layer.name) == 0:
            return "named in layers with 0"
        if self.policy and not (type(layer).__name__ == "Conv2D" and layer.kernel_size == (1, 1)):
            return "is no 1x1 convolution; policy: xnnpack_latency prunes nothing else"
        if unfit := next(filter(None, (self._unfit(layer, tuple(kernel.shape)) for kernel in kernels)), ""):
            return unfit
        count = sum(int(np.prod(kernel.shape)) for kernel in kernels)
        return f"has {count} weights; min_weights is {self.min_weights}" if count < self.min_weights else ""

    def _unfit(self, layer: KerasLayer, shape: tuple[int, ...]) -> str:
        if self.m_by_n:
            return zeros.unfit_for_m_by_n(type(layer).__name__, shape, self.m_by_n[1])
        kind = type(layer).__name__
        return zeros.unfit_for_blocks(kind, shape, self.block_size) if self.block_size != (1, 1) else ""

    def _pruning(self, name: str, steps: int) -> dict[str, Any]:
        """tfmot's pruning parameters of a layer, for a training of `steps` optimizer steps."""
        begin, end = round(self.begin * steps), max(round(self.end * steps) - 1, 0)
        ramp = "constant" if self.m_by_n else self.ramp
        target = self.target(name)
        return {
            "pruning_schedule": zeros.schedule(ramp, self.initial_sparsity, target, self.power, self.rises, begin, end),
            "sparsity_m_by_n": self.m_by_n,
            "block_size": self.block_size,
            "block_pooling_type": self.block_pooling.upper(),
        }

    def _achieved(self, model: KerasModel, reasons: dict[str, str]) -> Iterator[dict[str, Any]]:
        """A report row for each layer with a kernel. Raises StageError if the requested sparsity is missed."""
        for layer in model.layers:
            if not any(weight.shape.rank > 1 for weight in layer.weights):  # vectors: biases, normalisation
                continue
            why = reasons[layer.name]
            row: dict[str, Any] = {"layer": layer.name, "kind": type(layer).__name__, "done": not why, "why": why}
            if not why:
                kernels = [kernel.numpy() for kernel in magnitude.kernels(layer) or ()]
                values = np.concatenate([kernel.ravel() for kernel in kernels])
                row["sparsity"] = float(np.mean(values == 0))
                target = self.target(layer.name)
                one = np.prod(self.block_size) / values.size
                met = abs(row["sparsity"] - target) <= TOLERANCE + one
                if self.m_by_n:
                    met = all(zeros.least_zeros(kernel, self.m_by_n[1]) >= self.m_by_n[0] for kernel in kernels)
                if not met:
                    raise StageError(
                        Fault(
                            f"layer {layer.name} must be {target:.1%} zeros after pruning",
                            received=f"{row['sparsity']:.1%}",
                            do="give it more epochs, or an earlier end",
                        )
                    )
            yield row


def _lost(above: dict[str, float], pruned: dict[str, float], model: KerasModel) -> Iterator[str]:
    """Notes on zeros of an earlier prune stage that were lost in layers that this stage does not prune."""
    for name, before in above.items():
        kernels = [] if name in pruned else magnitude.kernels(model.get_layer(name)) or []
        now = float(np.mean([np.mean(kernel.numpy() == 0) for kernel in kernels])) if kernels else before
        if before - now > TOLERANCE:
            yield f"{name} went from {before:.1%} to {now:.1%} zeros: it is trained on here, and left alone otherwise"
