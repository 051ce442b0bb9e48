"""Rules R2, R8, R9, R10, R12 and R16 for scales, zero points and types of activations."""

import math
from collections.abc import Iterator

import numpy as np

from pipeline.tflite import int8_spec
from pipeline.tflite.graph import FLOATS, Op, Tensor
from pipeline.tflite.model import Model
from pipeline.verify.int8.rule import (
    COMPUTED,
    Find,
    OpBreach,
    Operand,
    Severity,
    activations,
    data,
    number,
    outputs,
    pair,
    parameters,
    public_names,
)

BAND = (1e-6, 1e3)  # a scale outside was never trained or calibrated (an untrained fake-quant op gives 4e-9)
RATIO = (0.5, 4.0)  # allowed range of the input / range of the data; symmetric int16 may be twice as wide
FAR = 16.0  # a larger factor is no outlier: data of 0..255 on an input calibrated for 0..1 is off by a factor of 255


def parameters_valid(model: Model) -> Iterator[OpBreach]:
    """R2: activations have one positive, finite scale and one valid zero point. Skips other types (INT32, BOOL)."""
    for place in activations(model):
        if place.tensor.dtype in (*COMPUTED, "UINT8"):
            yield from _valid(place)


def _valid(place: Operand) -> Iterator[OpBreach]:
    op, role, tensor = place
    if not tensor.scales:
        if op.name not in int8_spec.SAME:  # ops that only move values may move plain integers
            yield OpBreach(op, tensor, f"scale of {role}", "missing", "one scale")
        return
    if len(tensor.scales) > 1:
        yield OpBreach(op, tensor, f"number of scales of {role}", str(len(tensor.scales)), "1")
    if not tensor.zero_points:
        yield OpBreach(op, tensor, f"number of zero points of {role}", "0", "1")
    bad = next((scale for scale in tensor.scales if not (scale > 0 and math.isfinite(scale))), None)
    if bad is not None:
        yield OpBreach(op, tensor, f"scale of {role}", number(bad), "positive and finite")
    bounds = np.iinfo(tensor.dtype.lower())
    for point in tensor.zero_points[:1]:
        if not bounds.min <= point <= bounds.max:
            yield OpBreach(op, tensor, f"zero point of {role}", str(point), f"between {bounds.min} and {bounds.max}")


def fixed_output(dtype: str) -> Find:
    """R8 (INT8), R8u (UINT8), R12 (INT16): outputs of ops such as softmax have the range that the specification fixes.

    A uint8 output is usually written by a QUANTIZE after such an op.
    """

    def find(model: Model) -> Iterator[OpBreach]:
        makers = {tensor: op for op in model.ops for tensor in op.outputs}
        for op in model.ops:
            source = op.reads[0] if dtype == "UINT8" and op.name == "QUANTIZE" and op.reads else None
            maker = makers.get(source, op) if source else op
            wanted = int8_spec.FIXED.get(maker.name, {}).get(dtype)
            for tensor in op.outputs:
                if wanted and tensor.dtype == dtype and (tensor.scale, tensor.zero_point) != wanted:
                    yield OpBreach(op, tensor, f"output range of {maker.name}", parameters(tensor), pair(*wanted))

    return find


def same_parameters(op: Op) -> Iterator[OpBreach]:
    """R9: inputs and output have identical scales and zero points, because kernels copy or compare stored values."""
    slots = int8_spec.SAME.get(op.name)
    if slots is None and op.outputs and op.outputs[0].dtype == "INT16":
        slots = int8_spec.SAME_INT16.get(op.name)
    if slots is None or not op.outputs:
        return
    output, *others = op.outputs
    indices = {tensor for tensor in others if not tensor.quantized}  # indices of TOPK_V2
    met = (*data(op, slots), *outputs(op)[1:])
    places = [place for place in met if place.tensor not in indices and not place.tensor.floating]  # R1 reports floats
    wrong = [place for place in places if _stored_as(place.tensor) != _stored_as(output)]
    if wrong:
        _, role, tensor = wrong[0]
        more = f" ({len(wrong)} of {len(places)} tensors are wrong)" if len(wrong) > 1 else ""
        received, wanted = (f"{t.dtype} of {parameters(t)}" for t in (tensor, output))
        yield OpBreach(op, tensor, role + more, received, f"that of the output, {wanted}")


def _stored_as(tensor: Tensor) -> tuple[object, ...]:
    return tensor.dtype, tensor.scales, tensor.zero_points


def one_type(op: Op) -> Iterator[OpBreach]:
    """R10: ops that compute read and write one type. R1 reports floats."""
    output = op.outputs[0] if op.outputs else None
    for place in data(op, int8_spec.ONE_TYPE.get(op.name)):
        types = {place.tensor.dtype, output.dtype} if output else set()
        if output and len(types) > 1 and types & {*COMPUTED} and not types & {*FLOATS}:
            yield OpBreach(
                op, place.tensor, f"type of {place.role}", place.tensor.dtype, f"the output's, {output.dtype}"
            )


def symmetric_int16(model: Model) -> Iterator[OpBreach]:
    """R12: int16 activations have the zero point 0."""
    for op, role, tensor in activations(model):
        if tensor.dtype == "INT16" and any(tensor.zero_points):
            yield OpBreach(op, tensor, f"zero point of {role}", str(tensor.zero_points[0]), "0")


def cell_state(op: Op) -> Iterator[OpBreach]:
    """R12: the scale of an LSTM's cell state is a power of two from 2^-15 to 2^-9.

    The kernel's tanh supports 0 to 6 integer bits (PortableApplyTanh in portable_tensor_utils.cc). The converter gives
    a cell state that stays below 0.5 a smaller scale. The kernel then writes nothing, and the output is the same for
    every input.
    """
    if any(place.tensor.dtype == "INT8" for place in data(op, (0,))):
        for _, _, tensor in data(op, int8_spec.CELL.get(op.name)):
            if tensor.dtype != "INT16" or tensor.scale not in int8_spec.CELL_SCALES:
                received = f"{tensor.dtype} of {parameters(tensor)}"
                yield OpBreach(
                    op, tensor, "cell state", received, "INT16 with a power of two from 2^-15 to 2^-9 as its scale"
                )


def plausible_scale(model: Model) -> Iterator[OpBreach]:
    """R16: 8-bit scales of activations are within BAND.

    An implausible scale of an input makes all results wrong, so it is a failure. Inside the graph it can be right: a
    LayerNormalization has scales around 1e-8.
    """
    low, high = BAND
    taken, returned = set(model.inputs), set(model.outputs)
    for op, role, tensor in activations(model):
        if tensor.constant or tensor.variable or not tensor.scale or tensor.dtype not in (*COMPUTED, "UINT8"):
            continue
        of_8_bits = tensor.scale * (256 if tensor.dtype == "INT16" else 1)
        if not low <= of_8_bits <= high:
            severity: Severity = "fail" if tensor in taken else "warn" if tensor in returned else "info"
            yield OpBreach(
                op, tensor, f"8-bit scale of {role}", number(of_8_bits), f"between {low:g} and {high:g}", severity
            )


def input_range(model: Model, low: float, high: float) -> Iterator[OpBreach]:
    """R16: the range of each quantized input fits data between low and high."""
    names = public_names(model)
    for tensor in model.inputs:
        if tensor.scale and tensor.dtype in (*COMPUTED, "UINT8"):
            bounds, point = np.iinfo(tensor.dtype.lower()), tensor.zero_point or 0
            ends = [(float(end) - point) * tensor.scale for end in (bounds.min, bounds.max)]
            ratio = (ends[1] - ends[0]) / max(high - low, 1e-30)
            if not RATIO[0] <= ratio <= RATIO[1]:
                what, held = f"range of input {names.get(tensor, tensor.name)!r}", f"{ends[0]:.4g} to {ends[1]:.4g}"
                severity: Severity = "warn" if 1 / FAR <= ratio <= FAR else "fail"
                yield OpBreach(None, tensor, what, held, f"near the data's, {low:.4g} to {high:.4g}", severity)
