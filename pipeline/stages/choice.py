"""Which layers of a model a stage works on, and why not the others."""

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from pipeline.errors import Fault, StageError, did_you_mean

if TYPE_CHECKING:
    import tf_keras

Reason = Callable[["tf_keras.layers.Layer", bool], str]


def choose(model: "tf_keras.Model", skip: Sequence[str], verb: str, reason: Reason) -> dict[str, str]:
    """Why each layer is left alone, by its name; "" for those that are not.

    reason: says so of a layer that `skip` does not name, and is told whether it is the last one with weights.
    StageError when a pattern of `skip` matches no layer, or nothing is left to `verb`.
    """
    skipped = named(model, skip, "skip")
    output = next((layer.name for layer in reversed(model.layers) if layer.trainable_weights), "")
    reasons = {}
    for layer in model.layers:
        left = layer.weights and layer.name in skipped
        reasons[layer.name] = "named in skip" if left else reason(layer, layer.name == output)
    if all(reasons.values()):
        rows = "; ".join(f"{name}: {why}" for name, why in reasons.items() if why != "has no weights")
        raise StageError(Fault(f"there is no layer to {verb}", received=rows))
    return reasons


def named(model: "tf_keras.Model", patterns: Sequence[str], setting: str) -> set[str]:
    """Names of the layers that any of the patterns of that setting matches; StageError for one that matches none."""
    names = [layer.name for layer in model.layers]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise StageError(Fault(f"{setting}: no layer matches {pattern!r}", do=did_you_mean(pattern, names)))
    return {name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)}
