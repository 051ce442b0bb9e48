"""Tensor names as a person wants to read them: the Keras layer's name.

The converter joins the names of what it fused with ";" and the kernel's op comes last (seen with TensorFlow 2.21):
``net/relu1/Relu;net/bn1/FusedBatchNormV3;net/conv1/Conv2D1``. A part is ``model/[model/]layer/[scope/]op``.
"""

import re

_PREFIXES = re.compile(r"^(quant_|prune_low_magnitude_|serving_default_)+")  # tfmot's wrappers, a SavedModel's inputs
_OUTPUT = re.compile(r":\d+$")
_KERNELS = re.compile(r"/(Conv[123]D|depthwise|separable_conv2d|conv2d_transpose|MatMul|Tensordot)\d*(/|$)")

_MADE_UP = re.compile(r"(tfl\.|arith\.|Identity|(Stateful)?PartitionedCall)")  # by the converter, for what has no layer

# Scopes that a layer opens inside of itself, in tf_keras 2.21 and tfmot 0.8.1.
_INNER = re.compile(
    r"(separable_conv2d|depthwise|Tensordot|Conv1D|batchnorm|BiasAdd|Mean|Sum|Max|while|strided_slice|stack"
    r"|LastValueQuant|MovingAvgQuantize|MovingAverageQuantize|AllValuesQuantize|ReadVariableOp)$"
)


def layer_name(name: str) -> str:
    """The Keras layer behind a .tflite tensor; ``""`` when the name does not tell (``StatefulPartitionedCall:0``).

    ``net/quant_relu/Relu;net/quant_conv1/Conv2D`` is ``conv1``, ``serving_default_image:0`` is ``image``, and a layer
    of a model in a model is ``backbone/conv1``.
    """
    parts = _parts(name)
    kernels = [part for part in parts if _KERNELS.search(part)]
    return _layer((kernels or parts)[-1]) if parts else ""


def keras_layers(name: str) -> frozenset[str]:
    """Every Keras layer that was fused into a tensor: ``conv1``, ``bn1`` and ``relu1`` for the example above.

    A layer of a model in a model is there with its path and without (``backbone/conv1``, ``conv1``).
    """
    layers = [_layer(part) for part in _parts(name)]
    return frozenset(layers) | {layer.rpartition("/")[2] for layer in layers}


def known_layer(name: str) -> str:
    """As `layer_name`, and ``""`` for the names that the converter makes up itself (``tfl.dequantize3``) too."""
    layer = layer_name(name)
    return "" if _MADE_UP.match(layer) else layer


def _parts(name: str) -> list[str]:
    return [part for part in name.split(";") if part and not part.startswith("StatefulPartitionedCall")]


def _layer(part: str) -> str:
    """``model/layer/scope/op`` without what is inside of the layer, and without the outermost model."""
    scopes = _OUTPUT.sub("", part).strip("/").split("/")
    if len(scopes) > 1:
        scopes.pop()
        end = next((place for place, scope in enumerate(scopes) if place and _INNER.match(scope)), len(scopes))
        scopes = scopes[1:end] or scopes[:end]
    return "/".join(_PREFIXES.sub("", scope) for scope in scopes)
