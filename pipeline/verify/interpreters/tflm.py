"""Runs a .tflite file on TFLite Micro (TFLM), the runtime of microcontrollers: its outputs, and the arena it needs.

The ``tflite_micro`` package is optional; without it everything here raises :class:`Unavailable`. Its interpreter is
the C++ of the devices with reference kernels, built for this machine: pointers have 8 bytes here and 4 there, so the
arena's tail is larger here than on a 32 bit device.

The native code can crash: call :func:`run` in a process of its own. :func:`arena` makes its own processes, because an
arena that is too small ends in an error for some sizes and in a segmentation fault for others (measured with
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

from pipeline.core import processes
from pipeline.core.errors import Fault, InputError, StageError
from pipeline.tflite import Model, read
from pipeline.tflite.reading import ModelSource
from pipeline.tflite.values import Array, feeds, only, real

__all__ = ["Arena", "Unavailable", "arena", "run"]


STEP = 16  # TFLM aligns the arena and every buffer to 16 bytes (MicroArenaBufferAlignment)
LIMIT = 1 << 30  # no microcontroller has more
LIMITS = processes.Limits(seconds=120)  # of one inference in a process of its own
_TOTALS = re.compile(r"Arena allocation (total|head|tail) (\d+) bytes")


class Unavailable(Exception):  # noqa: N818  # a result ("unavailable", with its reason), not a mistake
    """What was asked for can't be measured here; the message says why."""


class Arena(NamedTuple):
    """Bytes of the tensor arena.

    total     used, as TFLM's recording allocator reports it after an inference: head + tail
    head      activations and scratch buffers, by the memory planner
    tail      what stays: structures of tensors and ops, quantization parameters, variables
    smallest  the smallest arena that an inference was seen to succeed in; 16 bytes less was seen to fail. Mostly
              the total; more where setting up needs more than running (measured: an LSTM 4,000 for 2,720)
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
    """Real values in, real values out: (n, ...) for one array, or arrays by the names of the file's signature.

    Variables start anew for each invocation. Raises Unavailable without tflite_micro, InputError when TFLM can't run
    the model or the data does not fit, StageError when it fails while running.
    """
    model = source if isinstance(source, Model) else read(source)
    outputs = model.signature.outputs
    if isinstance(x, Mapping):
        return {name: real(values, outputs[name]) for name, values in raw(model, x).items()}
    name, output = only(model)
    return real(raw(model, {name: x})[output], outputs[output])


def raw(model: Model, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """As :func:`run`, with the outputs as the file gives them: int8, int16, float32, ..."""
    given, ports = feeds(model, inputs), model.signature
    places = {name: model.inputs.index(tensor) for name, tensor in ports.inputs.items()}
    results = {name: model.outputs.index(tensor) for name, tensor in ports.outputs.items()}
    interpreter = _interpreter(model, _enough(model))
    stacks: dict[str, list[Array]] = {name: [] for name in results}
    with _plain(StageError, "TFLM failed while it ran the model", model.path or ""):
        for call in range(given.calls):
            if model.stateful and call:
                interpreter.reset()
            for name, place in places.items():
                interpreter.set_input(given.stacks[name][call], place)
            interpreter.invoke()
            for name, place in results.items():
                stacks[name].append(interpreter.get_output(place))
    return given.join({name: np.stack(stack) for name, stack in stacks.items()})


def arena(source: ModelSource) -> Arena:
    """The arena that one inference of the model needs, in a few short processes: mostly three, of 0.05 s each.

    Raises Unavailable without tflite_micro, InputError when TFLM can't run the model, StageError when it crashes.
    """
    model = source if isinstance(source, Model) else read(source)
    _import()
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
    """The smallest multiple of 16 bytes that works, between 0 and ``works``, which does; likely ``near``.

    Steps away from ``near`` double until both sides are known, then halve: two probes when it is exact.
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
    """An arena that is too large rather than too small, because too small may crash: multiples of what is in the file.

    Tensors and ops take under 200 bytes each, a scale 12 bytes, scratch buffers less than the activations.
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
    """The runtime's errors as ours. What it says to standard error explains them, and is taken from there."""
    with _native_stderr() as said:
        try:
            yield
        except Exception as problem:  # the package's Python trusts the file: any of IndexError, AttributeError, ...
            message = " ".join(f"{problem}: {said()}".split())[:400]
            raise error(Fault(rule, where=where, received=message)) from problem


@contextmanager
def _native_stderr() -> Iterator[Any]:
    """File descriptor 2 into a file, for the whole process; yields a function that reads what came so far."""
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
    """One inference on zeros in a process of its own: {"text": report}, {"error": message} or {"crash": how}."""
    try:
        (answer,) = processes.gather("TFLM", [(_try, content, size)], LIMITS)
    except StageError as error:
        return {"crash": error.faults[0].reason}
    found: dict[str, str] = answer
    return found


def _try(send: processes.Send, content: bytes, size: int) -> None:
    """What the process does. The first inference shows whether the arena holds everything."""
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
