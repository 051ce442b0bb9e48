"""Find the Keras layer names in the names of .tflite tensors.

The converter joins the names of fused ops with ";", with the op that has the kernel last (seen with TensorFlow 2.21):
``net/relu1/Relu;net/bn1/FusedBatchNormV3;net/conv1/Conv2D1``. Each part is ``model/[model/]layer/[scope/]op``.
"""

import re

_PREFIXES = re.compile(r"^(quant_|prune_low_magnitude_|serving_default_)+")  # wrappers of tfmot, inputs of a SavedModel
_OUTPUT = re.compile(r":\d+$")
_KERNELS = re.compile(r"/(Conv[123]D|depthwise|separable_conv2d|conv2d_transpose|MatMul|Tensordot)\d*(/|$)")

_MADE_UP = re.compile(r"(tfl\.|arith\.|Identity|(Stateful)?PartitionedCall)")  # by the converter, without a layer

# Scopes inside a layer, in tf_keras 2.21 and tfmot 0.8.1.
_INNER = re.compile(
    r"(separable_conv2d|depthwise|Tensordot|Conv1D|batchnorm|BiasAdd|Mean|Sum|Max|while|strided_slice|stack"
    r"|LastValueQuant|MovingAvgQuantize|MovingAverageQuantize|AllValuesQuantize|ReadVariableOp)$"
)


def layer_name(name: str) -> str:
    """Return the Keras layer in the name of a .tflite tensor; "" if it has none (``StatefulPartitionedCall:0``).

    ``net/quant_relu/Relu;net/quant_conv1/Conv2D`` gives ``conv1``, ``serving_default_image:0`` gives ``image``, and a
    layer of a nested model gives ``backbone/conv1``.
    """
    parts = _parts(name)
    kernels = [part for part in parts if _KERNELS.search(part)]
    return _layer((kernels or parts)[-1]) if parts else ""


def keras_layers(name: str) -> frozenset[str]:
    """Return all Keras layers that were fused into a tensor: ``conv1``, ``bn1``, ``relu1`` for the module's example.

    A layer of a nested model is included with and without its path (``backbone/conv1``, ``conv1``).
    """
    layers = [_layer(part) for part in _parts(name)]
    return frozenset(layers) | {layer.rpartition("/")[2] for layer in layers}


def known_layer(name: str) -> str:
    """Return the same as `layer_name`, but "" also for names that the converter makes up (``tfl.dequantize3``)."""
    layer = layer_name(name)
    return "" if _MADE_UP.match(layer) else layer


def _parts(name: str) -> list[str]:
    return [part for part in name.split(";") if part and not part.startswith("StatefulPartitionedCall")]


def _layer(part: str) -> str:
    """Return the layer of ``model/layer/scope/op``: without scopes inside the layer and without the outermost model."""
    scopes = _OUTPUT.sub("", part).strip("/").split("/")
    if len(scopes) > 1:
        scopes.pop()
        end = next((place for place, scope in enumerate(scopes) if place and _INNER.match(scope)), len(scopes))
        scopes = scopes[1:end] or scopes[:end]
    return "/".join(_PREFIXES.sub("", scope) for scope in scopes)
