"""Rewrite layers that TensorFlow's converter refuses, leaves float in an int8 file, or rounds beyond use."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.keras.surgery import attention, channels, elementwise, kernels
from pipeline.keras.surgery.builder import Builder
from pipeline.keras.surgery.graph import Call

if TYPE_CHECKING:
    import tf_keras

Rules = dict[str, Callable[[Builder, Call], Any]]

ALWAYS: Rules = {"MaxPooling3D": elementwise.pooling3d, "AveragePooling3D": elementwise.pooling3d}
INTEGER: Rules = {"Conv3D": kernels.conv3d}
BEHIND: Rules = {"BatchNormalization": channels.batch_normalization, "ReLU": Builder.pointwise}  # a Conv3D

# Layers that stay float32 in an int8 file, if no rule rewrites them -> what to do.
FLOAT = {
    "Conv3D": "only one without dilated frames, with one group, channels last and a known size becomes integer",
    "Conv3DTranspose": "use UpSampling3D and a Conv3D",
    "Masking": "leave it out, and give sequences of one length",
}


class Convertible(Builder):
    """The network, with equal outputs, in layers that the converter takes.

    integer   whether the file is to have integer activations
    replaced  names of the layers that were rewritten
    """

    def __init__(self, integer: bool, floors: Mapping[str, float] | None = None) -> None:
        super().__init__(floors)
        self.integer = integer
        self.replaced: list[str] = []

    def visit(self, call: Call) -> Any:
        rule = self._rule(call)
        if rule is None:
            return self.copy(call)
        self.replaced.append(call.layer.name)
        return rule(self, call)

    def _rule(self, call: Call) -> Callable[[Builder, Call], Any] | None:
        kind = type(call.layer).__name__ if type(call.layer).__module__.startswith("tf_keras.") else ""
        if kind in ALWAYS:
            return ALWAYS[kind]
        if not self.integer:
            return None
        if kind in attention.RULES:
            return attention.RULES[kind] if attention.poor(call) else None
        if kind in BEHIND and not (call.x.shape.rank == 5 and self.is_wide(call.x)):
            return None
        return INTEGER.get(kind) or BEHIND.get(kind)


def floats(model: "tf_keras.Model") -> dict[str, str]:
    """Layers that stay float32 in an int8 file of the model, as is known before training, with kind -> what to do."""
    layers = convertible(model, integer=True)[0]._flatten_layers()
    own = (layer for layer in layers if type(layer).__module__.startswith("tf_keras."))
    kinds = ((layer.name, type(layer).__name__) for layer in own)
    return {f"{name} ({kind})": FLOAT[kind] for name, kind in kinds if kind in FLOAT}


def convertible(
    model: "tf_keras.Model", integer: bool, x: NDArray[np.float32] | None = None
) -> "tuple[tf_keras.Model, Mapping[str, str]]":
    """A network that the converter takes, and the layer of `model` that each of its layers replaces.

    It is `model` itself, and no layers, if nothing has to be rewritten.

    integer  as in `Convertible`
    x        examples (n, ...), by which the scores of masked positions in attention layers are set
    """
    kinds = {type(layer).__name__ for layer in model._flatten_layers()}
    if kinds.isdisjoint({*ALWAYS, *INTEGER, *attention.RULES}) or not getattr(model, "_is_graph_network", False):
        return model, {}
    rewrite = Convertible(integer)
    made = rewrite.model(model)
    if rewrite.masked and x is not None:
        rewrite = Convertible(integer, attention.floors(made, rewrite.origin, rewrite.masked, [x]))
        made = rewrite.model(model)
    return (made, rewrite.origin) if rewrite.replaced else (model, {})
