"""Count the multiply-accumulate operations (MACs) of an op from its shapes.

The count follows the MLPerf Tiny and MobileNet papers (arXiv:2106.07597, arXiv:1704.04861): one MAC for each product
that is added to an output of a convolution, matrix product or recurrent layer, at the batch size in the file. Padding
counts as data. Biases, activations, pooling, elementwise arithmetic and requantization do not count.
Input positions are those in the schema's comments and the kernels (tensorflow/lite/schema/schema.fbs, lite/kernels).
"""

from collections.abc import Callable
from math import prod

from pipeline.tflite.graph import WEIGHTS, Op


def count(op: Op) -> int | None:
    """Return the MACs of one run of an op: 0 for an op without any, None for custom and StableHLO ops (unknown)."""
    if op.custom or op.name.startswith("STABLEHLO_"):
        return None
    rule = _RULES.get(op.name)
    return rule(op) if rule else 0


def _shape(op: Op, slot: int) -> tuple[int, ...]:
    """Return the shape of an input; (0,) for a missing one, so that its products count 0."""
    tensor = op.inputs[slot] if slot < len(op.inputs) else None
    return tensor.shape if tensor is not None else (0,)


def _outputs(op: Op) -> int:
    """Return the number of elements of the first output."""
    return op.outputs[0].elements if op.outputs else 0


def _conv(op: Op) -> int:
    """Output elements x kernel (C_out, *window, C_in of the group)."""
    return _outputs(op) * prod(_shape(op, 1)[1:])


def _depthwise(op: Op) -> int:
    """Output elements x window; the kernel is (1, height, width, C_out)."""
    return _outputs(op) * prod(_shape(op, 1)[1:3])


def _transpose_conv(op: Op) -> int:
    """Input (slot 2) elements x kernel (C_out, height, width, C_in) without C_in; cropped products count."""
    return prod(_shape(op, 2)) * prod(_shape(op, 1)[:-1])


def _conv_3d(op: Op) -> int:
    """Output elements x kernel (depth, height, width, C_in, C_out) without C_out."""
    return _outputs(op) * prod(_shape(op, 1)[:-1])


def _conv_3d_transpose(op: Op) -> int:
    """Input (slot 2) elements x kernel (depth, height, width, C_out, C_in) without C_in."""
    return prod(_shape(op, 2)) * prod(_shape(op, 1)[:-1])


def _fully_connected(op: Op) -> int:
    """Output elements x inputs per unit; the kernel is (units, inputs)."""
    return _outputs(op) * prod(_shape(op, 1)[-1:])


def _batch_matmul(op: Op) -> int:
    """Output elements (..., rows, columns) x the length of the summed dimension."""
    shape = _shape(op, 0)
    return _outputs(op) * prod(shape[-2:-1] if op.transposed_x else shape[-1:])


def _recurrent(op: Op) -> int:
    """Steps x elements of all matrices; the input is (..., features), with batch and time before the features."""
    # A basic LSTM has one matrix; its inputs are input, previous activation, weights, biases, previous state.
    basic = op.name == "LSTM" and len(op.inputs) == 5
    slots = (2,) if basic else WEIGHTS[op.name]
    present = (slot for slot in slots if slot < len(op.inputs) and op.inputs[slot] is not None)
    return prod(_shape(op, 0)[:-1]) * sum(prod(_shape(op, slot)) for slot in present)


_RULES: "dict[str, Callable[[Op], int]]" = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _transpose_conv,
    "CONV_3D": _conv_3d,
    "CONV_3D_TRANSPOSE": _conv_3d_transpose,
    "FULLY_CONNECTED": _fully_connected,
    "BATCH_MATMUL": _batch_matmul,
    **dict.fromkeys((name for name in WEIGHTS if "LSTM" in name or "RNN" in name or name == "SVDF"), _recurrent),
}
