"""Set the smallest weights to zero while training goes on."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, PositiveFloat, model_validator

from pipeline import surgery, tf
from pipeline.errors import Fault, StageError
from pipeline.stage import Inputs
from pipeline.stages.choice import choose
from pipeline.stages.sidecar import write_facts
from pipeline.stages.teacher import Taught
from pipeline.stages.training import Share, fit

if TYPE_CHECKING:
    import tf_keras

TOLERANCE = 0.01  # of the achieved against the asked sparsity, beside the rounding to whole weights
UPDATES = 100  # of the masks over the schedule: tfmot's own default of one in 100 steps misses short trainings


class Prune(Taught):
    """Magnitude pruning (Zhu and Gupta, https://arxiv.org/abs/1710.01878) with tfmot, and the wrappers stripped."""

    takes = "keras"
    gives = "keras"

    stage: Literal["prune"]
    sparsity: Annotated[float, Field(gt=0, lt=1)]
    """Share of zeros in each pruned kernel at the end; asserted."""
    ramp: Literal["polynomial", "constant"] = "polynomial"
    """How the sparsity gets there: along a polynomial from initial_sparsity, or at once at `begin`."""
    initial_sparsity: Share = 0.0
    """Where the polynomial starts."""
    power: PositiveFloat = 3.0
    """Exponent of the polynomial."""
    begin: Share = 0.0
    """Share of the training after which pruning begins."""
    end: Annotated[float, Field(gt=0, le=1)] = 0.75
    """Share of the training after which the masks no longer change; what is left is for recovery."""
    skip: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Layers to leave alone: names or patterns such as `block1_*`."""
    prune_output: bool = False
    """Prune the last layer with weights too; its weights decide most for their number."""
    min_weights: Annotated[int, Field(ge=0)] = 500
    """Kernels with fewer weights are left alone: there is little to win."""

    @model_validator(mode="after")
    def _ramp_rises(self) -> "Prune":
        if self.begin >= self.end:
            raise ValueError(f"begin: must be less than end, {self.end}")
        if self.initial_sparsity >= self.sparsity:
            raise ValueError(f"initial_sparsity: must be less than sparsity, {self.sparsity}")
        return self

    def run(self, inputs: Inputs, work: Path) -> None:
        tf.start(inputs.seed)
        import tensorflow_model_optimization as tfmot
        import tf_keras

        model = surgery.flat(tf.load_model(inputs.source.path / "model.h5"))
        reasons = choose(model, self.skip, "prune", self._reason)
        schedule = self._schedule(self.epochs * self.steps(inputs.data.split("train")))

        def wrap(layer: "tf_keras.layers.Layer") -> "tf_keras.layers.Layer":
            if reasons[layer.name]:
                return layer
            return tfmot.sparsity.keras.prune_low_magnitude(layer, pruning_schedule=schedule)

        wrapped = tf_keras.models.clone_model(model, clone_function=wrap)
        step = tfmot.sparsity.keras.UpdatePruningStep()
        curves = fit(wrapped, self, inputs, tf.gives_logits(model), [step])
        model = tfmot.sparsity.keras.strip_pruning(wrapped)
        layers = list(self._achieved(model, reasons))
        tf.save_model(model, work / "model.h5")
        write_facts(work, curves, layers, sparsity={row["layer"]: row["sparsity"] for row in layers if row["done"]})

    def _reason(self, layer: "tf_keras.layers.Layer", output: bool) -> str:
        kernels = _kernels(layer)
        if not layer.weights:
            return "has no weights"
        if kernels is None:
            return f"tfmot can't prune {type(layer).__name__}"
        if not kernels:
            return f"{type(layer).__name__} has no kernel that tfmot prunes"
        if output and not self.prune_output:
            return "is the output layer; prune_output: true prunes it"
        count = sum(int(np.prod(kernel.shape)) for kernel in kernels)
        return f"has {count} weights; min_weights is {self.min_weights}" if count < self.min_weights else ""

    def _schedule(self, steps: int) -> Any:
        """tfmot's schedule in steps, with its last update exactly on its last step."""
        from tensorflow_model_optimization.sparsity import keras as sparsity

        begin, end = round(self.begin * steps), max(round(self.end * steps) - 1, 0)
        frequency = max(1, (end - begin) // UPDATES)
        begin = end - max(0, end - begin) // frequency * frequency
        if self.ramp == "constant" or begin == end:
            return sparsity.ConstantSparsity(self.sparsity, begin, end, frequency)
        return sparsity.PolynomialDecay(self.initial_sparsity, self.sparsity, begin, end, self.power, frequency)

    def _achieved(self, model: "tf_keras.Model", reasons: dict[str, str]) -> Iterator[dict[str, Any]]:
        """A row for each layer with kernels; StageError when a pruned kernel has not the sparsity that was asked."""
        for layer in model.layers:
            if not any(weight.shape.rank > 1 for weight in layer.weights):  # vectors: biases, normalisation
                continue
            why = reasons[layer.name]
            row: dict[str, Any] = {"layer": layer.name, "kind": type(layer).__name__, "done": not why, "why": why}
            if not why:
                values = np.concatenate([kernel.numpy().ravel() for kernel in _kernels(layer) or ()])
                row["sparsity"] = float(np.mean(values == 0))
                if abs(row["sparsity"] - self.sparsity) > TOLERANCE + 1 / values.size:
                    raise StageError(
                        Fault(
                            f"layer {layer.name} must be {self.sparsity:.1%} zeros after pruning",
                            received=f"{row['sparsity']:.1%}",
                            do="give it more epochs, or an earlier end",
                        )
                    )
            yield row


def _kernels(layer: "tf_keras.layers.Layer") -> list[Any] | None:
    """The weights that tfmot prunes in a layer; None when it doesn't know the layer."""
    from tensorflow_model_optimization.python.core.sparsity.keras.prune_registry import PruneRegistry

    if not PruneRegistry.supports(layer):
        return None
    PruneRegistry.make_prunable(layer)
    return list(layer.get_prunable_weights())
