"""The stage `equalize`: give the channels of a network equal weight ranges, for weights that share one scale."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.core import units
from pipeline.core.errors import Fault, PlacedFault, StageError
from pipeline.core.progress import step
from pipeline.data.source import Data, spread
from pipeline.keras import tf
from pipeline.keras.surgery import equalization, folding, graph, relu6
from pipeline.keras.types import KerasModel
from pipeline.stages.follower import Follower
from pipeline.stages.sidecar import read_facts, write_facts
from pipeline.stages.stage import KERAS, Inputs

EXAMPLES, BATCHES = 64, 8  # training examples for measuring activations and comparing outputs, and in how many batches
EQUAL = 1e-3  # largest difference of outputs, relative to the largest output; float32 rounding gives 1e-7 to 1e-5


class Equalize(Follower):
    """Cross-layer equalisation (Nagel et al., https://arxiv.org/abs/1906.04721), with equal outputs and no training.

    Batch normalisation is folded into the kernels before it. Then, for each pair of layers with only ReLU, pooling and
    similar layers between them, each channel is scaled down in one layer and up in the other, until both use the same
    part of their kernel's range. This reduces the quantization error of weights with one scale per layer; with one
    scale per channel it changes little. The stage checks on training examples that outputs are equal. Zeros stay zeros.
    Put it before qat and cluster. The report lists layers that can't be equalised, such as inputs of a sum, with the
    reason.
    """

    takes = "keras"
    gives = "keras"
    libraries = ("tensorflow", "tf_keras", "tensorflow-model-optimization", "numpy")
    not_behind: ClassVar[Mapping[str, str]] = {
        "cluster": "each channel gets a factor of its own, so weights would not be shared any more",
        "qat": "its ranges belong to the weights as they are",
    }

    stage: Literal["equalize"]
    relu6: Literal["keep", "replace"] = "keep"
    """`keep` leaves the layers around a ReLU6 unchanged, because its limit prevents scaling. `replace` puts ReLU in its
    place, which changes outputs; the report says by how much."""

    def leaves(self, model: KerasModel) -> KerasModel:
        return folding.Folded().model(graph.Rebuild().model(model))

    def examine(self, model: KerasModel) -> Iterator[PlacedFault | str]:
        fold = folding.Folded()
        pairs, reasons = equalization.pairs(fold.model(self._start(graph.Rebuild().model(model))))
        if not pairs and not fold.folded:
            rule = "there is no normalisation to fold, and no two layers have channels that can be scaled"
            received = "; ".join(f"{name} {why}" for name, why in {**reasons, **fold.left}.items()) or "no kernels"
            yield (), Fault(rule, received=received, do="leave the stage out")

    def _start(self, model: KerasModel) -> KerasModel:
        """The network whose outputs must not change: with ReLU6 replaced, if `relu6` says so."""
        return relu6.Unlimited().model(model) if self.relu6 == "replace" else model

    def run(self, inputs: Inputs, work: Path) -> None:
        tf.start(inputs.seed)
        above = read_facts(inputs.source.path)
        old = graph.Rebuild().model(tf.load_model(inputs.source.keras))
        self.refuse(old)
        start = self._start(old)
        fold = folding.Folded()
        model = fold.model(start)
        step("equalising")
        pairs, reasons = equalization.pairs(model)
        before = [_spread(pair) for pair in pairs]
        x = _examples(inputs.data)
        rounds = equalization.equalize(pairs, equalization.largest(model, pairs, np.array_split(x, BATCHES)))
        difference = _require_equal(start, model, x)
        notes = [_note(len(fold.folded), len(pairs), rounds, difference, len(x))]
        if self.relu6 == "replace":
            moved = units.percent(_difference(old, start, x))
            notes.append(f"ReLU in place of ReLU6 moves outputs by up to {moved} of the largest")
        if frozen := sorted({name for pair in pairs for name in (pair.first, pair.second) if _frozen(model, name)}):
            notes.append(f"frozen, and scaled like all others, because outputs stay equal: {', '.join(frozen)}")
        sparsity: dict[str, float] = above.get("sparsity", {})
        tf.save_model(model, work / KERAS)
        write_facts(
            work,
            layers=[*_norms(fold), *_rows(model, pairs, before, reasons)],
            notes=notes,
            difference=difference,
            sparsity={new: sparsity[name] for new, name in fold.origin.items() if name in sparsity},
        )


def _frozen(model: KerasModel, name: str) -> bool:
    return not model.get_layer(name).trainable


def _require_equal(one: KerasModel, other: KerasModel, x: NDArray[np.float32]) -> float:
    """The difference of two networks' outputs, as `_difference`. Raises StageError if it is more than rounding."""
    difference = _difference(one, other, x)
    if not difference <= EQUAL:
        rule = "the folded and equalised network must give equal outputs"
        raise StageError(Fault(rule, received=f"a difference of {difference:.2g} of the largest output"))
    return difference


def _examples(data: Data) -> NDArray[np.float32]:
    """Training examples (n, ...), spread evenly over the split."""
    train = data.split("train")
    return train.batch(spread(len(train), EXAMPLES))[0]


def _difference(one: KerasModel, other: KerasModel, x: NDArray[np.float32]) -> float:
    """The largest difference of two networks' outputs, as a share of the largest output."""
    before, after = (np.asarray(model(x, training=False), np.float64) for model in (one, other))
    return float(np.abs(before - after).max() / max(np.abs(before).max(), 1e-12))


def _spread(pair: equalization.Pair) -> float:
    """The largest channel range of the first layer divided by the smallest; channels with all weights 0 don't count."""
    ranges = pair.sides[0].ranges
    used = ranges[ranges > 0]
    return float(used.max() / used.min()) if used.size else 1.0


def _norms(fold: folding.Folded) -> Iterator[dict[str, Any]]:
    """A report row for each normalisation."""
    for name in (*fold.folded, *fold.left):
        why = fold.left.get(name, "")
        yield {"layer": name, "kind": "BatchNormalization", "done": not why, "why": why}


def _rows(
    model: KerasModel, pairs: Sequence[equalization.Pair], before: Sequence[float], reasons: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    """A report row for each pair, with the spread of its first layer's channels, and for each layer without a pair."""
    for pair, ratio in zip(pairs, before, strict=True):
        kind = type(model.get_layer(pair.first)).__name__
        row = {"layer": pair.first, "kind": kind, "done": True, "why": "", "with": pair.second}
        yield row | {"spread_before": ratio, "spread": _spread(pair)}
    for name, why in reasons.items():
        yield {"layer": name, "kind": type(model.get_layer(name)).__name__, "done": False, "why": why}


def _note(norms: int, pairs: int, rounds: int, difference: float, examples: int) -> str:
    return (
        f"normalisations folded: {norms}; pairs of layers equalised: {pairs}, in {rounds} rounds; outputs differ by at "
        f"most {difference:.1e} of the largest on {examples} training examples"
    )
