"""Convert between real values and stored values, and between batches and invocations.

All runtimes share this module, so it depends on NumPy only.
"""

import difflib
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import Fault, InputError
from pipeline.tflite.graph import Tensor
from pipeline.tflite.model import Model

Array = NDArray[Any]
K = TypeVar("K")

_CHUNK = 1 << 16  # elements quantized at a time, so that temporary arrays fit in the core's cache
_SIGN = np.uint32(1 << 31)  # sign bit of a float32
_HALF = np.nextafter(np.float32(0.5), np.float32(0)).view(np.uint32)  # with 0.5, the float below 0.5 would round to 1
_QUANTIZED = ("INT8", "UINT8", "INT16")


def quantize(x: Array, scale: float, zero_point: int, dtype: str) -> Array:
    """Quantize real values: ``clamp(round(x / scale) + zero_point)``, same shape; dtype "int8", "uint8" or "int16".

    Computed in float32 and rounded half away from zero, as in the reference QUANTIZE kernel
    (tensorflow/lite/kernels/internal/reference/quantize.h; the optimized kernels round half to even).
    Infinities are clamped. Raises InputError for NaN.
    """
    limits = np.iinfo(dtype)
    out = np.empty(x.shape, dtype)
    source, target = np.ascontiguousarray(x).reshape(-1), out.reshape(-1)
    for start in range(0, source.size, _CHUNK):
        values = np.divide(source[start : start + _CHUNK], np.float32(scale), dtype=np.float32)
        low = values.min()
        if np.isnan(low):
            raise InputError(Fault("the data must not hold NaN"))
        if low >= 0:
            values += _HALF.view(np.float32)
        else:
            half = values.view(np.uint32) & _SIGN  # np.copysign is six times slower, half of the total time
            half |= _HALF
            values += half.view(np.float32)
        np.trunc(values, out=values)
        values += np.float32(zero_point)
        target[start : start + _CHUNK] = np.clip(values, limits.min, limits.max, out=values)
    return out


def dequantize(q: Array, scale: float, zero_point: int) -> NDArray[np.float32]:
    """Dequantize integers: ``(q - zero_point) * scale``, same shape, float32."""
    values: NDArray[np.float32] = (q.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)
    return values


def stored(x: Array, tensor: Tensor) -> Array:
    """Convert real values to the tensor's type: quantize them, or cast them if it is not quantized; same shape.

    Raises InputError for values that the tensor can't store, and for types that NumPy lacks.
    """
    if tensor.dtype in _QUANTIZED and tensor.scale is not None:
        return quantize(x, tensor.scale, tensor.zero_point or 0, tensor.dtype.lower())
    try:
        kind = np.dtype(tensor.dtype.lower())
    except TypeError:
        raise InputError(Fault(f"input {tensor.name!r} of type {tensor.dtype} can't be fed from numpy")) from None
    values = x.astype(kind)
    if kind.kind in "iub" and not np.array_equal(values, x):
        raise InputError(Fault(f"input {tensor.name!r} takes whole numbers in the range of {kind}"))
    return values


def real(values: Array, tensor: Tensor) -> NDArray[np.float32]:
    """Convert stored values to real values, float32; same shape."""
    if tensor.dtype in _QUANTIZED and tensor.scale is not None:
        return dequantize(values, tensor.scale, tensor.zero_point or 0)
    return values.astype(np.float32)


class Feeds(NamedTuple):
    """The stored input values of a series of invocations.

    stacks    input name -> values (calls, *shape)
    calls     number of invocations
    batch     batch size of the file
    examples  number of examples, without those that fill up the last batch
    steps     invocations of each recording, one after the other, before the state is reset; None if examples are none
    """

    stacks: dict[str, Array]
    calls: int
    batch: int
    examples: int
    steps: int | None = None

    def starts(self, call: int) -> bool:
        """Whether an example or a recording begins with this invocation, so that the state is reset before it."""
        return call % (self.steps or 1) == 0

    def join(self, outputs: Mapping[K, Array]) -> dict[K, Array]:
        """Reshape outputs (calls, batch, ...) to (n, ...), or those of recordings to (n, steps, ...).

        An output without the batch dimension keeps one entry for each invocation.
        """
        return {name: self._join(stack) for name, stack in outputs.items()}

    def _join(self, stack: Array) -> Array:
        if stack.ndim > 1 and stack.shape[1] == self.batch:
            stack = stack.reshape(-1, *stack.shape[2:])[: self.examples * (self.steps or 1)]
        return stack if self.steps is None else stack.reshape(-1, self.steps, *stack.shape[1:])


def steps(model: Model, inputs: Mapping[str, Array]) -> int | None:
    """Return the number of steps of recordings (n, steps, ...); None for inputs that are examples (n, ...).

    Inputs are recordings if the file keeps state and each is a series of what the file takes.
    """
    ports = model.signature.inputs
    if not model.stateful or not inputs.keys() <= ports.keys():
        return None
    series = all(np.ndim(x) > 1 and _fits(ports[name], np.shape(x)[2:]) for name, x in inputs.items())
    return int(min(np.shape(x)[1] for x in inputs.values())) if series and inputs else None


def _fits(tensor: Tensor, shape: tuple[int, ...]) -> bool:
    """Return whether an input takes examples of this shape. Its dynamic dimensions (-1) may have any size."""
    signature = tensor.shape_signature if len(tensor.shape_signature) == len(tensor.shape) else tensor.shape
    sizes = zip(shape, tensor.shape[1:], signature[1:], strict=False)
    return len(shape) == len(tensor.shape[1:]) and all(given == own or free == -1 for given, own, free in sizes)


def last(outputs: Array, steps: int | None) -> Array:
    """Return the outputs (n, ...) after the last step of each recording, of outputs (n, steps, ...).

    Those of examples (`steps` is None) are returned as they are.
    """
    return outputs if steps is None else outputs[:, -1]


def feeds(model: Model, inputs: Mapping[str, Array]) -> Feeds:
    """Split real-valued inputs, each (n, ...), by name in ``model.signature``, into batches of the file's batch size.

    The last batch is filled up with copies of the last example. Recordings (see `steps`) are split into their steps.
    Raises InputError if names, counts, shapes or values do not fit.
    """
    _require_names(model, inputs)
    count = steps(model, inputs)
    if count is None:
        return _feeds(model, inputs)
    lengths = {np.shape(x)[1] for x in inputs.values()}
    batches = {tensor.shape[0] for tensor in model.signature.inputs.values() if tensor.shape}
    if len(lengths) > 1 or 0 in lengths or batches - {1}:
        rule = "recordings must have equally many steps, at least one, and the file a batch of one"
        received = f"{sorted(lengths)} steps, batches of {sorted(batches)}"
        raise InputError(Fault(rule, where=model.path or "", received=received))
    rows = {name: np.reshape(x, (-1, *np.shape(x)[2:])) for name, x in inputs.items()}
    flat = _feeds(model, rows)
    return flat._replace(examples=flat.examples // count, steps=count)


def _require_names(model: Model, inputs: Mapping[str, Array]) -> None:
    """Raise InputError unless the names are those of the file's inputs, with all that are missing and unknown."""
    wanted, where = model.signature.inputs, model.path or ""
    missing, unknown = sorted({*wanted} - {*inputs}), sorted({*inputs} - {*wanted})
    near = {name: difflib.get_close_matches(name, unknown, n=1) for name in missing}
    found = {each for names in near.values() for each in names}
    faults = [
        Fault(f"input {name!r} is missing", where, do=f"rename {near[name][0]!r}, if that is it" if near[name] else "")
        for name in missing
    ]
    listed = f"the inputs are {', '.join(map(repr, wanted))}"
    faults += [
        Fault(f"{name!r} is not one of the model's inputs", where, do=listed) for name in unknown if name not in found
    ]
    if faults:
        raise InputError(*faults)


def _feeds(model: Model, inputs: Mapping[str, Array]) -> Feeds:
    tensors, where = model.signature.inputs, model.path or ""
    named = {*tensors.values()}
    nameless = [tensor.name for tensor in model.inputs if tensor not in named]
    if nameless:
        rule = "every input needs a name in the file's signature"
        raise InputError(Fault(rule, where=where, received=f"{len(nameless)} without, {nameless[0]!r} first"))
    counts = {np.shape(inputs[name])[:1] for name in tensors}
    batches = {tensor.shape[0] for tensor in tensors.values() if tensor.shape}
    if len(counts) > 1 or counts & {(), (0,)} or len(batches) > 1 or 0 in batches:
        rule = f"all inputs need the same number of examples, at least one (batch sizes in the file: {sorted(batches)})"
        raise InputError(Fault(rule, where=where, received=", ".join(str(np.shape(x)) for x in inputs.values())))
    batch, count = batches.pop() if batches else 1, counts.pop()[0] if counts else 1
    stacks = {name: _stack(name, tensor, np.asarray(inputs[name]), batch, where) for name, tensor in tensors.items()}
    return Feeds(stacks, -(-count // batch), batch, count)


def _stack(name: str, tensor: Tensor, x: Array, batch: int, where: str) -> Array:
    """Convert (n, ...) to stored values (calls, *shape). Dynamic dimensions (-1) of the tensor may have any size."""
    shape = (*tensor.shape[:1], *x.shape[1:])
    if not _fits(tensor, x.shape[1:]):
        rule = f"input {name!r} takes examples of shape {tensor.shape[1:]}"
        raise InputError(Fault(rule, where=where, received=f"{x.shape[1:]}"))
    missing = -len(x) % batch
    if missing:
        x = np.concatenate([x, np.repeat(x[-1:], missing, axis=0)])
    return stored(x, tensor).reshape(len(x) // batch, *shape)


def only(model: Model) -> tuple[str, str]:
    """Return the names of the only input and the only output. Raises InputError for a model that has more."""
    ports = model.signature
    if len(ports.inputs) != 1 or len(ports.outputs) != 1:
        rule = f"the model has the inputs {list(ports.inputs)} and the outputs {list(ports.outputs)}"
        raise InputError(Fault(rule, where=model.path or "", do="give the data by name"))
    return next(iter(ports.inputs)), next(iter(ports.outputs))
