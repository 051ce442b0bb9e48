"""Rules about the scales and zero points of activations."""

import math
from collections.abc import Iterator

import numpy as np

from pipeline.tflite.graph import Op, Tensor
from pipeline.tflite.int8 import spec
from pipeline.tflite.int8.flaw import (
    COMPUTED, Flaw, Limits, Place, activations, data, number, outputs, pair, parameters
)  # fmt: skip
from pipeline.tflite.model import Model

BAND = (1e-6, 1e3)  # scales outside: the ranges were never trained or calibrated (an untouched fake-quant has 4e-9)
RATIO = (0.5, 4.0)  # range of the input over range of the data; data of 0..255 where 0..1 was calibrated is 255 off


def parameters_valid(model: Model, limits: Limits) -> Iterator[Flaw]:
    """R2, for the types that quantized activations have; a type of its own (INT32, BOOL) is no flaw."""
    for place in activations(model):
        if place.tensor.dtype in (*COMPUTED, "UINT8"):
            yield from _valid(place)


def _valid(place: Place) -> Iterator[Flaw]:
    op, role, tensor = place
    if not tensor.scales:
        if op.name not in spec.SAME:  # what only moves values may move plain integers
            yield Flaw(op, tensor, f"scale of {role}", "missing", "one scale")
        return
    if len(tensor.scales) > 1:
        yield Flaw(op, tensor, f"number of scales of {role}", str(len(tensor.scales)), "1")
    if not tensor.zero_points:
        yield Flaw(op, tensor, f"number of zero points of {role}", "0", "1")
    bad = next((scale for scale in tensor.scales if not (scale > 0 and math.isfinite(scale))), None)
    if bad is not None:
        yield Flaw(op, tensor, f"scale of {role}", number(bad), "positive and finite")
    bounds = np.iinfo(tensor.dtype.lower())
    for point in tensor.zero_points[:1]:
        if not bounds.min <= point <= bounds.max:
            yield Flaw(op, tensor, f"zero point of {role}", str(point), f"between {bounds.min} and {bounds.max}")


def fixed_output(op: Op) -> Iterator[Flaw]:
    """R8."""
    if op.name in spec.FIXED:
        for place in outputs(op):
            yield from _fixed(op, place.tensor, spec.FIXED[op.name], ("INT8",))


def fixed_output_uint8(model: Model, limits: Limits) -> Iterator[Flaw]:
    """R8u: the op itself writes uint8, or a QUANTIZE behind it does."""
    makers = {tensor: op for op in model.ops for tensor in op.outputs}
    for op in model.ops:
        read = op.inputs[0] if op.inputs else None
        maker = makers.get(read) if op.name == "QUANTIZE" and read is not None else op
        if maker is not None and maker.name in spec.FIXED:
            for tensor in op.outputs:
                yield from _fixed(op, tensor, spec.FIXED[maker.name], ("UINT8",), maker.name)


def fixed_output_int16(op: Op) -> Iterator[Flaw]:
    """Of R12."""
    if op.name in spec.FIXED:
        for place in outputs(op):
            yield from _fixed(op, place.tensor, spec.FIXED[op.name], ("INT16",))


def _fixed(
    op: Op, tensor: Tensor, table: dict[str, tuple[float, int]], dtypes: tuple[str, ...], maker: str = ""
) -> Iterator[Flaw]:
    if tensor.dtype in dtypes and tensor.dtype in table:
        wanted = table[tensor.dtype]
        if (tensor.scale, tensor.zero_point) != wanted:
            of = f" of {maker}" if maker not in ("", op.name) else ""
            yield Flaw(op, tensor, f"output{of}", parameters(tensor), pair(*wanted))


def same_parameters(op: Op) -> Iterator[Flaw]:
    """R9, bit for bit: the kernels copy or compare stored values as they are."""
    slots = spec.SAME.get(op.name)
    if slots is None and op.outputs and op.outputs[0].dtype == "INT16":
        slots = spec.SAME_INT16.get(op.name)
    inputs = data(op, slots)
    for output in op.outputs if inputs else ():
        if inputs[0].tensor.dtype != output.dtype and not output.quantized:
            continue  # indices
        for place in inputs:
            if _stored_as(place.tensor) != _stored_as(output):
                received, wanted = (f"{t.dtype} of {parameters(t)}" for t in (place.tensor, output))
                yield Flaw(op, place.tensor, place.role, received, f"that of the output, {wanted}")


def _stored_as(tensor: Tensor) -> tuple[object, ...]:
    return tensor.dtype, tensor.scales, tensor.zero_points


def one_type(op: Op) -> Iterator[Flaw]:
    """R10."""
    output = op.outputs[0] if op.outputs else None
    for place in data(op, spec.FREE.get(op.name)):
        if output and place.tensor.dtype != output.dtype and output.dtype in COMPUTED:
            yield Flaw(op, place.tensor, f"type of {place.role}", place.tensor.dtype, f"the output's, {output.dtype}")


def symmetric_int16(model: Model, limits: Limits) -> Iterator[Flaw]:
    """Of R12."""
    for op, role, tensor in activations(model):
        if tensor.dtype == "INT16" and any(tensor.zero_points):
            yield Flaw(op, tensor, f"zero point of {role}", str(tensor.zero_points[0]), "0")


def plausible_scale(model: Model, limits: Limits) -> Iterator[Flaw]:
    """Of R16. An input out of the band is a failure: nothing that follows can be right."""
    low, high = BAND
    taken = set(model.inputs)
    for op, role, tensor in activations(model):
        if tensor.constant or tensor.variable or tensor.scale is None or tensor.dtype not in (*COMPUTED, "UINT8"):
            continue
        span = tensor.scale * (256 if tensor.dtype == "INT16" else 1)  # as if it had 8 bits
        if not low <= span <= high and span > 0:
            wanted = f"between {low:g} and {high:g}" + (" at 8 bits" if tensor.dtype == "INT16" else "")
            yield Flaw(op, tensor, f"scale of {role}", number(tensor.scale), wanted, "fail" if tensor in taken else None)


def input_range(model: Model, limits: Limits) -> Iterator[Flaw]:
    """Of R16: what the inputs can hold against what they will be given."""
    if limits.input_range is None:
        return
    low, high = limits.input_range
    for tensor in model.inputs:
        if tensor.scale and tensor.dtype in (*COMPUTED, "UINT8"):
            bounds, point = np.iinfo(tensor.dtype.lower()), tensor.zero_point or 0
            ends = [(float(end) - point) * tensor.scale for end in (bounds.min, bounds.max)]
            ratio = (ends[1] - ends[0]) / max(high - low, 1e-30)
            if not RATIO[0] <= ratio <= RATIO[1]:
                held = f"{ends[0]:.4g} to {ends[1]:.4g}"
                yield Flaw(None, tensor, "range of the input", held, f"near the data's, {low:.4g} to {high:.4g}", "fail")
