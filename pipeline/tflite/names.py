"""Guess Keras layers from the names of .tflite tensors, for files that do not say which layers they are of.

The converter joins the names of fused ops with ";", mostly with the op that has the kernel last (TensorFlow 2.21):
``net/relu1/Relu;net/bn1/FusedBatchNormV3;net/conv1/Conv2D1``. Each part is ``model/[model/]layer/[scope/]op``. Older
converters add the names of other layers that share a constant, such as that of ``conv2d_4`` in each op of a network of
equal blocks. Nothing in a name says where the layer ends, so a layer named like a scope of TensorFlow is guessed wrong.
"""

import re

_PREFIXES = re.compile(r"^(quant_|prune_low_magnitude_|serving_default_)+")  # wrappers of tfmot, inputs of a SavedModel
_OUTPUT = re.compile(r":\d+$")
_CONVOLUTION = r"Conv[123]D(_\d+)?|separable_conv2d(_\d+)?|MatMul(_\d+)?|Tensordot(_\d+)?"

# TensorFlow's ops with a kernel, at the end of a name or as a scope: all, and those that an op of a file is made from.
_ANY = rf"depthwise|conv[23]d_transpose|{_CONVOLUTION}"
_OF = {"DEPTHWISE_CONV_2D": r"depthwise", "TRANSPOSE_CONV": r"conv2d_transpose", "CONV_2D": _CONVOLUTION}

# Made up by the converter, without a layer.
_MADE_UP = re.compile(r"(tfl\.|arith\.|Identity(_\d+)?\d*$|(Stateful)?PartitionedCall)")

# Scopes inside a layer, in tf_keras 2.21 and tfmot 0.8.1.
_INNER = re.compile(
    r"(separable_conv2d|depthwise|Tensordot|Conv1D|batchnorm|BiasAdd|Mean|Sum|Max|while|strided_slice|stack"
    r"|LastValueQuant|MovingAvgQuantize|MovingAverageQuantize|AllValuesQuantize|ReadVariableOp)$"
)


def guessed(name: str, op: str = "") -> tuple[str, ...]:
    """Return the layers in the name of a tensor: the one with the kernel first, the others in running order.

    op: name of the .tflite op that writes the tensor, which tells the kernel's part of the name from those of others.
    ``net/quant_relu/Relu;net/quant_conv1/Conv2D`` gives ``conv1, relu``; a layer of a nested model is followed by its
    own name, as ``backbone/conv1, conv1``. Empty if there is none (``StatefulPartitionedCall:0``).
    """
    parts = [part for part in name.split(";") if part.strip("/") and not _MADE_UP.match(part)]
    if not parts:
        return ()
    first = next((part for part in reversed(parts) if _has_kernel(part, _OF.get(op, _ANY))), parts[-1])
    layers = [_layer(first)]
    for part in reversed(parts):
        if not _has_kernel(part, _ANY):  # one op has one kernel: other kernels are those of other layers
            layers.append(_layer(part))
    return tuple(dict.fromkeys(each for layer in layers for each in (layer, layer.rpartition("/")[2])))


def _has_kernel(part: str, ops: str) -> bool:
    return re.search(rf"/({ops})\d*(/|$)", part) is not None


def _layer(part: str) -> str:
    """Return the layer of ``model/layer/scope/op``: without scopes inside the layer and without the outermost model."""
    scopes = _OUTPUT.sub("", part).strip("/").split("/")
    if len(scopes) > 1:
        scopes.pop()
        end = next((place for place, scope in enumerate(scopes) if place and _INNER.match(scope)), len(scopes))
        scopes = scopes[1:end] or scopes[:end]
    return "/".join(_PREFIXES.sub("", scope) for scope in scopes)
