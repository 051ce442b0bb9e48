"""Tensor names as a person wants to read them: the Keras layer's name.

The converter joins the names of what it fused with ";" and the kernel's op comes last (seen with TensorFlow 2.21):
``net/relu1/Relu;net/bn1/FusedBatchNormV3;net/conv1/Conv2D1``. A part is ``model/[model/]layer/[scope/]op``.
"""

import re

_PREFIXES = re.compile(r"^(quant_|prune_low_magnitude_|serving_default_)+")  # tfmot's wrappers, a SavedModel's inputs
_OUTPUT = re.compile(r":\d+$")
_KERNELS = re.compile(r"/(Conv[123]D|depthwise|separable_conv2d|conv2d_transpose|MatMul|Tensordot)\d*(/|$)")

# Scopes that a layer opens inside of itself, in tf_keras 2.21 and tfmot 0.8.1.
_INNER = frozenset(
    ("separable_conv2d", "depthwise", "Tensordot", "Conv1D", "batchnorm", "BiasAdd", "Mean", "Sum", "Max", "while")
    + ("LastValueQuant", "MovingAverageQuantize", "AllValuesQuantize", "ReadVariableOp", "strided_slice", "stack")
)


def layer_name(name: str) -> str:
    """The Keras layer behind a .tflite tensor; ``""`` when the name does not tell (``StatefulPartitionedCall:0``).

    ``net/quant_relu/Relu;net/quant_conv1/Conv2D`` is ``conv1``, ``serving_default_image:0`` is ``image``.
    """
    parts = [part for part in name.split(";") if part and not part.startswith("StatefulPartitionedCall")]
    if not parts:
        return ""
    kernels = [part for part in parts if _KERNELS.search(part)]
    scopes = _OUTPUT.sub("", (kernels or parts)[-1]).strip("/").split("/")
    if len(scopes) > 1:
        scopes = _layer(scopes[:-1])
    return "/".join(_PREFIXES.sub("", scope) for scope in scopes)


def _layer(scopes: list[str]) -> list[str]:
    """Scopes without those inside of the layer, and without the outermost model."""
    end = next((place for place, scope in enumerate(scopes) if place and scope in _INNER), len(scopes))
    return scopes[:end][1:] or scopes[:end]
