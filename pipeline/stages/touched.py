"""Find in a .tflite file the weights that the stages above it pruned or clustered."""

from collections.abc import Mapping
from typing import NamedTuple

from pipeline.stages.lineage import Change, changed
from pipeline.stages.stage import Artifact
from pipeline.verify.model_facts import KernelFacts


class Touched(NamedTuple):
    """Names of weight tensors, or the reason why there are none."""

    tensors: tuple[str, ...]
    why: str = ""


def touched(made: Artifact, kernels: Mapping[str, KernelFacts], what: Change) -> Touched:
    """The weight tensors of a file that a prune or cluster stage changed.

    None if weights of one of the layers are not all found: what is told of the others would not be true of all.

    made     the artifact that the file belongs to
    kernels  the weight tensors of the file
    what     what such a stage did to them
    """
    sizes = changed(made, what)
    if not sizes:
        stage = {"pruned": "prune", "clustered": "cluster"}[what]
        return Touched((), f"no {stage} stage stands before this model")
    found = {layer: _of(layer, counts, kernels) for layer, counts in sizes.items()}
    lost = [layer for layer, tensors in found.items() if not tensors]
    if lost:
        rule = f"the file does not show which weights are those of {', '.join(lost[:5])}"
        return Touched((), f"{rule}, {what} by a stage above")
    return Touched(tuple(dict.fromkeys(name for tensors in found.values() for name in tensors)))


def share_of_zeros(kernels: Mapping[str, KernelFacts], names: tuple[str, ...]) -> float | None:
    """Share of zeros among all weights of the tensors of those names; None if they have no weights."""
    total = sum(kernels[name].weights for name in names)
    return sum(kernels[name].zeros for name in names) / total if total else None


def _of(layer: str, counts: list[int], kernels: Mapping[str, KernelFacts]) -> list[str]:
    """Names of the tensors of a layer's kernels with these numbers of weights; empty if there are fewer weights.

    A file can hold a kernel several times, and in parts. A separable layer has a kernel that no stage changes: that of
    its depthwise op.
    """
    own = [name for name, kernel in kernels.items() if layer in kernel.layers]
    wide = [name for name in own if kernels[name].op != "DEPTHWISE_CONV_2D"]
    whole = [name for name in wide if kernels[name].weights in counts]
    enough = (names for names in (whole, wide, own) if sum(kernels[name].weights for name in names) >= sum(counts))
    return next(enough, [])
