"""The stage `cluster`: train on while each kernel holds only a few different weight values."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pipeline.core.errors import Fault, PlacedFault, StageError
from pipeline.keras import clustering, tf
from pipeline.keras.layer_choice import FROZEN, choose, nothing
from pipeline.keras.surgery.flat import flat
from pipeline.keras.training.frozen import zeros_held
from pipeline.keras.types import KerasLayer, KerasModel
from pipeline.stages.follower import nearest
from pipeline.stages.sidecar import read_facts, write_facts
from pipeline.stages.stage import KERAS, Inputs, Stage
from pipeline.stages.taught import APART, WRAPPED, Taught


class Cluster(Taught):
    """Weight clustering (Han et al., https://arxiv.org/abs/1510.00149) with tfmot.

    Each weight takes the value of the nearest of its kernel's centroids, and training moves both. After per-channel
    quantization each channel has at most as many different integers, which is what `compress` stores compactly.
    """

    takes = "keras"
    gives = "keras"
    only_float32 = "what keeps the zeros after each step works on float32 layers"
    not_behind: ClassVar[Mapping[str, str]] = {
        "cluster": f"{APART}, in layers that this one leaves alone",
        "qat": WRAPPED,
    }

    stage: Literal["cluster"]
    clusters: Annotated[int, Field(ge=2, le=256)]
    """Largest number of different values in each clustered kernel; the stage fails if a kernel has more at the end. 16
    values take 4 bits per weight after `compress`."""
    initialisation: Literal["linear", "density", "random", "kmeans++"] = "kmeans++"
    """Initial centroids: `linear` spaces them evenly from the smallest to the largest weight, `density` puts equal
    numbers of weights between them, `random` draws them from that range, `kmeans++` picks weights far apart."""
    per_channel: bool = False
    """Give each output channel of a Conv2D its own centroids. Other kernels have one set."""
    preserve: Literal["sparsity", "none"] | None = None
    """`sparsity` keeps the zeros of a pruned model, as one of the clusters. Default: `sparsity` after a prune stage."""
    skip: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Layers to leave unchanged: names or patterns such as `block1_*`."""
    cluster_output: bool = False
    """Also cluster the last layer with weights, to which accuracy is usually most sensitive."""
    min_weights: Annotated[int, Field(ge=0)] = 500
    """Smallest number of weights of a kernel to be clustered; smaller kernels save little."""

    @model_validator(mode="after")
    def _zero_has_company(self) -> "Cluster":
        if self.preserve == "sparsity" and self.clusters < 3:
            raise ValueError("clusters: must be at least 3 with preserve: sparsity, because zero is one of them")
        return self

    def unfit_behind(self, above: Sequence[Stage]) -> Iterator[PlacedFault]:
        yield from super().unfit_behind(above)
        if nearest(above, "prune") and self.preserve is None and self.clusters < 3:
            rule = "must be at least 3 behind a prune stage, because zero is one of them"
            yield ("clusters",), Fault(rule, received=str(self.clusters), do="or set preserve: none")

    def layers_named(self) -> Mapping[str, Iterable[str]]:
        return {"skip": self.skip}

    def examine(self, model: KerasModel) -> Iterator[PlacedFault | str]:
        yield from nothing(choose(flat(model), self.skip, self._unfit), "cluster")

    def leaves(self, model: KerasModel) -> KerasModel:
        return flat(model)

    def run(self, inputs: Inputs, work: Path) -> None:
        tf.start(inputs.seed)
        model = flat(tf.load_model(inputs.source.keras))
        above = read_facts(inputs.source.path)
        pruned: dict[str, float] = above.get("sparsity", {})
        zeros = self.preserve == "sparsity" or (self.preserve is None and bool(pruned))
        self.refuse(model)
        reasons = choose(model, self.skip, self._reason)
        self.check(nothing(reasons, "cluster"))
        chosen = [name for name, why in reasons.items() if not why]
        wrapped = clustering.wrapped(model, chosen, self.clusters, self.initialisation, zeros, self.per_channel)
        left = [layer for layer in model.layers if zeros and layer.name in pruned and reasons[layer.name]]
        kernels = [weight for layer in left for weight in layer.trainable_weights if weight.shape.rank > 1]
        curves = self.fit(wrapped, inputs, tf.gives_logits(model), [zeros_held(kernels)])
        model = clustering.stripped(wrapped)
        layers = list(self._achieved(model, reasons, pruned if zeros else {}))
        tf.save_model(model, work / KERAS)
        write_facts(
            work,
            curves,
            layers,
            clusters={row["layer"]: row["values"] for row in layers if row["done"]},
            sparsity={row["layer"]: row["sparsity"] for row in layers if "sparsity" in row},
            clustered={name: [int(np.prod(model.get_layer(name).kernel.shape))] for name in chosen},
        )

    def _unfit(self, layer: KerasLayer, output: bool) -> str:
        """Why a layer is not clustered, whatever its weights."""
        if not layer.weights:
            return "has no weights"
        kernel = clustering.kernel(layer)
        if kernel is None:
            return f"{type(layer).__name__} is not clustered: only Conv1D, Conv2D, Conv2DTranspose and Dense are"
        if not layer.trainable:
            return FROZEN
        if output and not self.cluster_output:
            return "is the output layer; cluster_output: true clusters it"
        if kernel.size < self.min_weights:
            return f"has {kernel.size} weights; min_weights is {self.min_weights}"
        return ""

    def _reason(self, layer: KerasLayer, output: bool) -> str:
        """Why a layer is not clustered; "" when it is."""
        kernel = clustering.kernel(layer)
        if (why := self._unfit(layer, output)) or kernel is None:
            return why
        least = min(np.unique(part).size for part in self._parts(layer, kernel))
        if least <= self.clusters:  # includes a channel of zeros, for which tfmot can't compute centroids
            of = "a channel" if self._splits(layer) else "the kernel"
            return f"{of} has {least} different weights already; clusters is {self.clusters}"
        return ""

    def _splits(self, layer: KerasLayer) -> bool:
        return self.per_channel and type(layer).__name__ == "Conv2D"

    def _parts(self, layer: KerasLayer, kernel: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        """The parts that have their own centroids: the whole kernel, or each of its output channels."""
        yield from np.moveaxis(kernel, -1, 0) if self._splits(layer) else (kernel,)

    def _achieved(
        self, model: KerasModel, reasons: dict[str, str], pruned: dict[str, float]
    ) -> Iterator[dict[str, Any]]:
        """A report row for each layer with a kernel. Raises StageError if a kernel has more values than `clusters`."""
        for layer in model.layers:
            if not any(weight.shape.rank > 1 for weight in layer.weights):  # vectors: biases, normalisation
                continue
            why, kernel = reasons[layer.name], clustering.kernel(layer)
            row: dict[str, Any] = {"layer": layer.name, "kind": type(layer).__name__, "done": not why, "why": why}
            if not why and kernel is not None:
                row["values"] = max(np.unique(part).size for part in self._parts(layer, kernel))
                if row["values"] > self.clusters:
                    rule = f"layer {layer.name} must have at most {self.clusters} different weights after clustering"
                    raise StageError(Fault(rule, received=str(row["values"])))
            if layer.name in pruned and kernel is not None:
                row["sparsity"] = float(np.mean(kernel == 0))
                if row["sparsity"] < pruned[layer.name]:
                    rule = f"layer {layer.name} must keep its {pruned[layer.name]:.1%} zeros"
                    raise StageError(Fault(rule, received=f"{row['sparsity']:.1%}"))
            yield row
