"""Run a .tflite file on TFLite Micro (TFLM), the runtime of microcontrollers: outputs, and the size of the arena.

The ``tflite_micro`` package is optional; without it all functions here raise :class:`Unavailable`. Its interpreter is
the same C++ code as on devices, with reference kernels, built for this machine. Pointers have 8 bytes here and 4 bytes
on a 32-bit device, so the arena's tail is larger here.

The native code can crash: call :func:`run` in a separate process. :func:`arena` starts its own processes, because an
arena that is too small causes an error for some sizes and a segmentation fault for others (measured with
tflite_micro 0.dev20261023: a 4 KB LSTM crashes with any arena from 1,600 to 3,984 bytes, and runs with 4,000).
"""

import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from pipeline.core import processes, progress
from pipeline.core.errors import Fault, InputError, StageError
from pipeline.tflite import Model, read
from pipeline.tflite.reading import ModelSource
from pipeline.tflite.values import Array, feeds, only, real

__all__ = ["Arena", "Unavailable", "arena", "run"]


STEP = 16  # TFLM aligns the arena and every buffer to 16 bytes (MicroArenaBufferAlignment)
LIMIT = 1 << 30  # bytes; no microcontroller has more RAM
LIMITS = processes.Limits(seconds=120)  # limits of one inference in a separate process
_TOTALS = re.compile(r"Arena allocation (total|head|tail) (\d+) bytes")


class Unavailable(Exception):  # noqa: N818  # a result ("unavailable", with its reason), not an error
    """The measurement is not possible on this machine; the message gives the reason."""


class Arena(NamedTuple):
    """Sizes of the tensor arena in bytes.

    total     used bytes that TFLM's recording allocator reports after an inference: head + tail
    head      activations and scratch buffers, placed by the memory planner
    tail      persistent data: tensor and op structures, quantization parameters, variables
    smallest  size of the smallest arena in which an inference succeeded; 16 bytes less failed. Mostly equal to total,
              and larger when initialization needs more memory than inference (measured: 4,000 for an LSTM with a total
              of 2,720)
    """

    total: int
    head: int
    tail: int
    smallest: int


@overload
def run(source: ModelSource, x: Array) -> NDArray[np.float32]: ...
@overload
def run(source: ModelSource, x: Mapping[str, Array]) -> dict[str, NDArray[np.float32]]: ...
def run(source: ModelSource, x: Array | Mapping[str, Array]) -> NDArray[np.float32] | dict[str, NDArray[np.float32]]:
    """Run a model on real values (n, ...): one array, or arrays by the input names of the file's signature.

    State is reset as in `litert.Runner`. Raises Unavailable without tflite_micro, InputError when TFLM can't run the
    model or the data does not fit, StageError when it fails while running.
    """
    model = source if isinstance(source, Model) else read(source)
    outputs = model.signature.outputs
    if isinstance(x, Mapping):
        return {name: real(values, outputs[name]) for name, values in raw(model, x).items()}
    name, output = only(model)
    return real(raw(model, {name: x})[output], outputs[output])


def raw(model: Model, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Same as :func:`run`, with outputs in the file's own type: int8, int16, float32, ..."""
    given, ports = feeds(model, inputs), model.signature
    places = {name: model.inputs.index(tensor) for name, tensor in ports.inputs.items()}
    results = {name: model.outputs.index(tensor) for name, tensor in ports.outputs.items()}
    for name, tensor in ports.inputs.items():
        if given.stacks[name].shape[1:] != tensor.shape:
            rule = f"TFLM runs a file at the shape in its bytes, and input {name!r} is {tensor.shape} there"
            do = "convert it for the shape of the data"
            raise InputError(Fault(rule, where=model.path or "", received=f"{given.stacks[name].shape[1:]}", do=do))
    interpreter = _interpreter(model, _enough(model))
    stacks: dict[str, list[Array]] = {name: [] for name in results}
    with _plain(StageError, "TFLM failed while it ran the model", model.path or ""):
        for call in range(given.calls):
            progress.step("example on TFLite Micro", call, given.calls)
            if model.stateful and call and given.starts(call):
                interpreter = _reset(interpreter, model)
            for name, place in places.items():
                interpreter.set_input(given.stacks[name][call], place)
            interpreter.invoke()
            for name, place in results.items():
                stacks[name].append(interpreter.get_output(place))
    return given.join({name: np.stack(stack) for name, stack in stacks.items()})


def _reset(interpreter: Any, model: Model) -> Any:
    """Return the interpreter with its state reset, or a new one where the file's first values are lost otherwise."""
    if model.state.renewed:
        return _interpreter(model, _enough(model))
    interpreter.reset()
    return interpreter


def arena(source: ModelSource) -> Arena:
    """Measure the arena that one inference needs, in a few short processes: usually three of 0.05 s each.

    Raises Unavailable without tflite_micro, InputError when TFLM can't run the model, StageError when it crashes.
    """
    model = source if isinstance(source, Model) else read(source)
    _import()
    progress.step("measuring the arena")
    report = _tried(model.content, _enough(model))
    if "error" in report:
        raise InputError(Fault("TFLM can't run this model", where=model.path or "", received=report["error"]))
    if "crash" in report:
        raise StageError(Fault("TFLM crashed on this model", where=model.path or "", received=report["crash"]))
    found = {key: int(value) for key, value in _TOTALS.findall(report["text"])}
    if found.keys() != {"total", "head", "tail"}:
        raise StageError(Fault("TFLM reported no arena", where=model.path or "", received=report["text"][:400]))
    return Arena(**found, smallest=_smallest(model.content, found["total"], _enough(model)))


def _smallest(content: bytes, near: int, works: int) -> int:
    """Smallest arena size that works: a multiple of 16 bytes, at most ``works`` (known to work), probably ``near``.

    The search steps away from ``near``, doubling the step until it has a size that fails and one that works. It then
    bisects. It needs two probes when ``near`` is exact.
    """
    fails, step, size = 0, STEP, _aligned(near)
    while works - fails > STEP:
        if "text" in _tried(content, size):
            works, size = size, max(size - step, fails + STEP)
        else:
            fails, size = size, min(size + step, works - STEP)
        step *= 2
        if works - fails < step:
            size, step = _aligned((works + fails) // 2), STEP
    return works


def _aligned(size: int) -> int:
    return -(-size // STEP) * STEP


def _enough(model: Model) -> int:
    """An arena size that is certainly large enough, because one that is too small may crash.

    A tensor or op takes less than 200 bytes, a scale 12 bytes, and scratch buffers less than the activations. The size
    is computed from the file with generous factors.
    """
    structures = sum(len(graph.tensors) + len(graph.ops) for graph in model.subgraphs)
    scales = sum(len(tensor.scales) for graph in model.subgraphs for tensor in graph.tensors)
    variables = sum(tensor.bytes for graph in model.subgraphs for tensor in graph.tensors if tensor.variable)
    size = (
        (1 << 16)
        + 256 * structures
        + 32 * scales
        + 2 * variables
        + 6 * len(model.subgraphs) * model.peak_activation_bytes
    )
    return min(_aligned(size), LIMIT)


def _import() -> Any:
    try:
        from tflite_micro import runtime
    except ImportError as error:
        raise Unavailable(f"TFLite Micro is not installed: {error}; install tflite_micro to run it here") from error
    return runtime


def _interpreter(model: Model, size: int) -> Any:
    runtime = _import()
    with _plain(InputError, "TFLM can't run this model", model.path or ""):
        return runtime.Interpreter.from_bytes(model.content, arena_size=size)


@contextmanager
def _plain(error: type[InputError] | type[StageError], rule: str, where: str) -> Iterator[None]:
    """Turn the runtime's errors into the given error. Their explanation is read from standard error."""
    with _native_stderr() as said:
        try:
            yield
        except Exception as problem:  # the package does not validate the file: IndexError, AttributeError, ...
            message = " ".join(f"{problem}: {said()}".split())[:400]
            raise error(Fault(rule, where=where, received=message)) from problem


@contextmanager
def _native_stderr() -> Iterator[Any]:
    """Redirect file descriptor 2 of the process to a file; yields a function that reads the text written so far."""
    with tempfile.TemporaryFile() as file:
        sys.stderr.flush()
        saved = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield lambda: os.pread(file.fileno(), 1 << 20, 0).decode(errors="replace")
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _tried(content: bytes, size: int) -> dict[str, str]:
    """Run one inference on zeros in a separate process: {"text": report}, {"error": message} or {"crash": reason}."""
    try:
        (answer,) = processes.gather("TFLM", [(_try, content, size)], LIMITS)
    except StageError as error:
        return {"crash": error.faults[0].reason}
    found: dict[str, str] = answer
    return found


def _try(send: processes.Send, content: bytes, size: int) -> None:
    """Run one inference and send its report; called in the process. It fails when the arena is too small."""
    model = read(content)
    try:
        interpreter = _interpreter(model, size)
        for place, tensor in enumerate(model.inputs):
            detail = interpreter.get_input_details(place)
            interpreter.set_input(np.zeros(tensor.shape, detail["dtype"]), place)
        with _plain(InputError, "TFLM failed while it ran the model", ""):
            interpreter.invoke()
    except InputError as error:
        send({"error": error.faults[0].received})
        return
    with _native_stderr() as said:
        interpreter.print_allocations()
        send({"text": said()})
