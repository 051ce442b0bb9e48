"""Select the layers that a stage works on, with the reason for each layer that it leaves unchanged."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from pipeline.core.errors import Fault, PlacedFault, did_you_mean
from pipeline.keras.surgery.flat import flat

if TYPE_CHECKING:
    import tf_keras

FROZEN = "is frozen: its `trainable` is false"
Reason = Callable[["tf_keras.layers.Layer", bool], str]


def choose(model: "tf_keras.Model", skip: Sequence[str], reason: Reason) -> dict[str, str]:
    """Layer name -> why the layer is left unchanged; "" for the layers to work on.

    skip    names or patterns of layers to leave unchanged
    reason  gives the reason for other layers; its second argument is whether the layer is the last one with weights
    """
    skipped = named(model, skip)
    output = next((layer.name for layer in reversed(model.layers) if layer.trainable_weights), "")
    reasons = {}
    for layer in model.layers:
        left = layer.weights and layer.name in skipped
        reasons[layer.name] = "named in skip" if left else reason(layer, layer.name == output)
    return reasons


def nothing(reasons: Mapping[str, str], verb: str) -> Iterator[PlacedFault]:
    """A fault if there is a reason against every layer. verb: what the stage does to layers, for the message."""
    if all(reasons.values()):
        rows = "; ".join(f"{name}: {why}" for name, why in reasons.items() if why != "has no weights")
        yield (), Fault(f"there is no layer to {verb}", received=rows or "no layer has weights")


def layer_names(model: "tf_keras.Model") -> list[str]:
    """Names of the layers of a network, those of nested models among them."""
    return [layer.name for layer in flat(model).layers]


def unmatched(names: Collection[str], settings: Mapping[str, Iterable[str]]) -> Iterator[PlacedFault]:
    """Faults for patterns that match no layer. names: of the layers; settings: name of a setting -> its patterns."""
    for setting, patterns in settings.items():
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in names):
                yield (setting,), Fault(f"no layer matches {pattern!r}", do=did_you_mean(pattern, names))


def named(model: "tf_keras.Model", patterns: Sequence[str]) -> set[str]:
    """Names of the layers that match any of the patterns."""
    return {layer.name for layer in model.layers if any(fnmatchcase(layer.name, pattern) for pattern in patterns)}
