"""Fold batch normalisation into the kernels before it, and know which axes of a kernel hold channels."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.keras.surgery.graph import Call, Rebuild

if TYPE_CHECKING:
    import tf_keras

Array = NDArray[np.float64]
Axes = tuple[int, ...]

# OUTPUTS: class of a layer -> the kernel whose axes hold its output channels, and these axes, counted from the end.
# INPUTS: the same for its input channels.
_PLAIN = ("Dense", "Conv1D", "Conv2D", "Conv3D")
_TRANSPOSED = ("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose")
_DEPTHWISE = ("DepthwiseConv1D", "DepthwiseConv2D")
SEPARABLE = ("SeparableConv1D", "SeparableConv2D")
OUTPUTS: dict[str, tuple[str, Axes]] = {
    **dict.fromkeys(_PLAIN, ("kernel", (-1,))),
    **dict.fromkeys(_TRANSPOSED, ("kernel", (-2,))),
    **dict.fromkeys(_DEPTHWISE, ("depthwise_kernel", (-2, -1))),
    **dict.fromkeys(SEPARABLE, ("pointwise_kernel", (-1,))),
}
INPUTS: dict[str, tuple[str, Axes]] = {
    **dict.fromkeys(_PLAIN, ("kernel", (-2,))),
    **dict.fromkeys(_TRANSPOSED, ("kernel", (-1,))),
    **dict.fromkeys((*_DEPTHWISE, *SEPARABLE), ("depthwise_kernel", (-2,))),
}


class Folded(Rebuild):
    """A new network with batch normalisation folded into kernels. Outputs are equal at inference, not in training.

    gamma (w x + b - mean) / sqrt(variance + epsilon) + beta becomes one kernel and one bias. The old model must come
    from `Rebuild`, so that every call of a layer is part of the model.

    folded  names of the normalisation layers that were folded
    left    names of those that remain -> the reason
    """

    def __init__(self) -> None:
        super().__init__()
        self.folded: list[str] = []
        self.left: dict[str, str] = {}

    def visit(self, call: Call) -> Any:
        from tf_keras import layers

        if isinstance(call.layer, layers.BatchNormalization):
            if call.layer.name in self.folded:
                return call.x
            self.left[call.layer.name] = _unfit(call.layer) or "what it reads is read elsewhere too"
        norm = call.reader
        if not isinstance(norm, layers.BatchNormalization) or _unfit(norm):
            return self.copy(call)
        self.folded.append(norm.name)
        config = call.layer.get_config() | {"use_bias": True}
        return self.put(
            call, lambda name: type(call.layer).from_config(config | {"name": name}), *call.args,
            weights=_weights(call.layer, norm), **call.kwargs,
        )  # fmt: skip


def kind(layer: "tf_keras.layers.Layer") -> str:
    """Name of the class for Keras's own layers with channels on the last axis; "" for any other layer."""
    own = type(layer).__module__.startswith("tf_keras.")
    return type(layer).__name__ if own and getattr(layer, "data_format", None) != "channels_first" else ""


def scaled(values: Array, axes: Axes, factors: Array) -> Array:
    """A kernel times a factor per channel; `axes` are the axes of the channels, in their order."""
    shape = np.ones(values.ndim, int)
    for axis in axes:
        shape[axis] = values.shape[axis]
    return values * factors.reshape(shape)


def _unfit(norm: "tf_keras.layers.BatchNormalization") -> str:
    """Why a normalisation layer can't be folded; "" if it can."""
    if len(norm.inbound_nodes) > 1:
        return "is called several times"
    (node,) = norm.inbound_nodes
    layer = node.inbound_layers
    if kind(layer) not in OUTPUTS:
        return f"stands behind {layer.name}, which has no kernel"
    if getattr(layer.activation, "__name__", "") != "linear":
        return f"stands behind the activation of {layer.name}"
    if len(layer.inbound_nodes) > 1:
        return f"stands behind {layer.name}, which is called several times"
    if len(layer.outbound_nodes) > 1:
        return f"what {layer.name} gives is read elsewhere too"
    if norm.renorm or list(norm.axis) != [norm.input.shape.rank - 1] or node.call_kwargs.get("training"):
        return "does not normalise channels by its moving averages"
    return ""


def _weights(layer: "tf_keras.layers.Layer", norm: "tf_keras.layers.BatchNormalization") -> list[Array]:
    """The weights of one layer that replaces both, with a bias."""
    *kernels, bias = layer.get_weights() if layer.use_bias else [*layer.get_weights(), np.zeros(())]
    mean, variance, gamma, beta = (
        np.asarray(default if variable is None else variable.numpy(), np.float64)
        for variable, default in (
            (norm.moving_mean, 0), (norm.moving_variance, 1), (norm.gamma, 1), (norm.beta, 0),
        )
    )  # fmt: skip
    factors = gamma / np.sqrt(variance + norm.epsilon)
    _, axes = OUTPUTS[kind(layer)]
    return [*kernels[:-1], scaled(kernels[-1].astype(np.float64), axes, factors), (bias - mean) * factors + beta]
