"""Rewrite a network, with equal outputs, into layers that have int8 kernels and support quantization-aware training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.keras.surgery import attention, channels, elementwise, kernels, raw
from pipeline.keras.surgery.builder import Builder
from pipeline.keras.surgery.graph import Call, Rebuild

if TYPE_CHECKING:
    import numpy as np
    import tf_keras
    from numpy.typing import NDArray

# Class of a layer -> the rule that rewrites it; other layers are copied.
RULES: dict[str, Callable[[Builder, Call], Any]] = {
    "Conv2D": kernels.convolution,
    "DepthwiseConv2D": kernels.convolution,
    "Conv2DTranspose": kernels.convolution,
    "Dense": kernels.dense,
    "EinsumDense": kernels.einsum_dense,
    "Conv1D": kernels.conv1d,
    "Conv3D": kernels.conv3d,
    "DepthwiseConv1D": kernels.depthwise_conv1d,
    "SeparableConv2D": kernels.separable_conv2d,
    "SeparableConv1D": kernels.separable_conv1d,
    "BatchNormalization": channels.batch_normalization,
    "LayerNormalization": channels.layer_normalization,
    "GroupNormalization": channels.group_normalization,
    "LayerScale": channels.layer_scale,
    "Normalization": channels.normalization,
    "Rescaling": channels.rescaling,
    "Activation": elementwise.activation,
    "ReLU": elementwise.relu,
    "LeakyReLU": Builder.pointwise,
    "Dropout": Builder.pointwise,
    "Average": elementwise.average,
    "Add": elementwise.merge,
    "Subtract": elementwise.merge,
    "Multiply": elementwise.merge,
    "Maximum": elementwise.merge,
    "Minimum": elementwise.merge,
    "MaxPooling1D": elementwise.max_pooling1d,
    "AveragePooling1D": elementwise.average_pooling1d,
    "MaxPooling3D": elementwise.pooling3d,
    "AveragePooling3D": elementwise.pooling3d,
    "UpSampling1D": elementwise.up_sampling1d,
    "ZeroPadding1D": elementwise.zero_padding1d,
    "Cropping1D": elementwise.cropping1d,
    **attention.RULES,
    "TFOpLambda": raw.layers,
}


class Rewrite(Builder):
    """The network rewritten by RULES into layers that have int8 kernels."""

    def visit(self, call: Call) -> Any:
        rule = RULES.get(type(call.layer).__name__) if type(call.layer).__module__.startswith("tf_keras.") else None
        return rule(self, call) if rule else self.copy(call)


class Foldable(Rebuild):
    """The network with a kernel before each BatchNormalization of images, into which it can be folded.

    If there is none, a depthwise 1x1 convolution with weights of 1 is inserted. Folding into it is exact: the file then
    has one multiplication and one addition per channel, with a scale per channel.
    """

    def visit(self, call: Call) -> Any:
        from tf_keras import layers

        old = call.layer
        if type(old) is not layers.BatchNormalization or call.x.shape.rank != 4 or list(old.axis) != [3]:
            return self.copy(call)
        if _takes_norm(call.x._keras_history.layer) and call.alone:
            return self.copy(call)
        x = self.put(
            call,
            lambda name: layers.DepthwiseConv2D(
                1, use_bias=False, depthwise_initializer="ones", trainable=False, name=name
            ),
            call.x,
            suffix="_ones",
        )
        return self.copy(call.on(x))


def _takes_norm(layer: "tf_keras.layers.Layer") -> bool:
    from tf_keras import activations, layers

    return type(layer) in (layers.Conv2D, layers.DepthwiseConv2D) and layer.activation is activations.linear


@dataclass(frozen=True)
class Network:
    """A network of layers that have int8 kernels.

    origin  name of a layer of this network -> name of the layer of the old model that it replaces
    """

    model: "tf_keras.Model"
    origin: Mapping[str, str]


def quantizable(model: "tf_keras.Model", batches: "Sequence[NDArray[np.float32]]" = ()) -> Network:
    """The network, with equal outputs, in layers that support quantization-aware training.

    batches: examples (n, ...), by which the scores of masked positions in attention layers are set.
    """
    rewrite, fold = Rewrite(), Foldable()
    made = rewrite.model(model)
    if rewrite.masked and batches:
        rewrite = Rewrite(attention.floors(made, rewrite.origin, rewrite.masked, batches))
        made = rewrite.model(model)
    folded = fold.model(made)
    return Network(folded, {name: rewrite.origin[old] for name, old in fold.origin.items()})
