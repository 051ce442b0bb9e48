"""Run a .tflite file on LiteRT, the runtime of phones and Linux boards. Does not import TensorFlow.

The same file gives different results on different kernels, so the caller chooses them:

::

    xnnpack     the default in apps: the XNNPACK delegate, and built-in kernels for ops that it does not support
    builtin     optimized kernels without the delegate
    reference   plain C++ kernels, closest to TFLite Micro. ai-edge-litert 2.3 has none for ELU, CEIL, ROUND,
                SEGMENT_SUM and HASHTABLE*: such a file raises InputError here and runs on the other kernels

An invalid file can crash the native runtime: call this in a separate process.
"""

import itertools
import os
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal, NamedTuple, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from pipeline.core import progress
from pipeline.core.errors import Fault, InputError, StageError
from pipeline.tflite import Model, Tensor, read
from pipeline.tflite.reading import ModelSource
from pipeline.tflite.values import Array, Feeds, dequantize, feeds, only, quantize, real, steps

__all__ = ["Kernels", "Latency", "RefusedError", "Runner", "dequantize", "latency", "outputs", "quantize", "raw", "run"]

Kernels = Literal["xnnpack", "builtin", "reference"]
K = TypeVar("K")

WORTH = 25 * 10**7  # multiply-accumulates that justify one more interpreter: 1 to 3 ms of one core with XNNPACK
PARTS = 16  # average number of parts for each worker; a slower worker takes fewer


class RefusedError(InputError):
    """This runtime can't run the file, for example because it has no kernel for an op or for its version."""


class Latency(NamedTuple):
    """Milliseconds of one invocation: median (p50) and 95th percentile (p95) over `runs` runs."""

    p50: float
    p95: float
    runs: int


class Runner:
    """A model that is ready to run. Inputs and outputs have the names of its signature (``self.model.signature``).

    Examples run in as many invocations as the file's batch size requires. State is reset before each invocation, so
    that examples are independent; the runtime alone would keep it. For recordings (n, steps, ...), one dimension more
    than the file takes, it is reset before each recording, and outputs are (n, steps, ...).

    keep: give each tensor its own memory, so that `record` can read all tensors after an invocation.

    Raises InputError when the file is not valid, and RefusedError when this runtime can't run it.
    """

    def __init__(self, source: ModelSource, kernels: Kernels = "xnnpack", threads: int = 1, keep: bool = False) -> None:
        self.model = source if isinstance(source, Model) else read(source)
        self._where = self.model.path or ""
        self._options: tuple[Kernels, int, bool] = (kernels, threads, keep)
        self._shapes = {tensor.index: tensor.shape for tensor in self.model.signature.inputs.values()}
        self._open = any(-1 in tensor.shape_signature for tensor in self.model.inputs)
        self._start()

    def _start(self) -> None:
        """Begin anew, with all state as the file has it at first. A file of open shape waits for that of the data."""
        with _plain(RefusedError, "LiteRT can't run this model", self._where):
            self._interpreter = interpreter(self.model.content, *self._options)
            for tensor in self.model.inputs:
                if self._shapes.get(tensor.index, tensor.shape) != tensor.shape:
                    self._interpreter.resize_tensor_input(tensor.index, self._shapes[tensor.index], strict=True)
            if not self._open:
                self._interpreter.allocate_tensors()

    def __call__(self, x: Array) -> NDArray[np.float32]:
        """Run a model with one input and one output: real values (n, ...) to real values (n, ...)."""
        name, output = only(self.model)
        return self.named({name: x})[output]

    def named(self, inputs: Mapping[str, Array]) -> dict[str, NDArray[np.float32]]:
        """Run the model: input name -> real values (n, ...), to output name -> real values (n, ...)."""
        outputs = self.model.signature.outputs
        return {name: real(raw, outputs[name]) for name, raw in self.raw(inputs).items()}

    def raw(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Same as :meth:`named`, with outputs in the file's own type: int8, uint8, int16, float32, ...

        Raises InputError for data that does not fit, StageError when the runtime fails.
        """
        return self._record(inputs, self.model.signature.outputs)

    def record(self, x: Array) -> dict[int, Array]:
        """Output of each op of the first subgraph: op index -> (n, ...). Needs a runner with keep=True.

        Ops whose output does not have the batch as its first dimension are left out.
        """
        batch = self.model.signature.inputs[only(self.model)[0]].shape[0]
        written = {op.index: op.outputs[0] for op in self.model.subgraphs[0].ops if op.outputs}
        return self.observe(x, {index: t for index, t in written.items() if t.shape[:1] == (batch,)})

    def observe(self, x: Array, tensors: Mapping[K, Tensor]) -> dict[K, Array]:
        """Stored values (n, ...) of the given tensors of the first subgraph. Needs a runner with keep=True."""
        return self._record({only(self.model)[0]: x}, tensors)

    def _record(self, inputs: Mapping[str, Array], tensors: Mapping[K, Tensor]) -> dict[K, Array]:
        """Run all examples and return the stored values (n, ...) of the given tensors."""
        given = feeds(self.model, inputs)
        self._resize(given)
        with self._running():
            return given.join(self._invoke(given, tensors))

    def _resize(self, given: Feeds) -> None:
        """Set the file's dynamic dimensions to those of the data."""
        if not self._open:
            return
        wanted = {tensor.index: given.stacks[name].shape[1:] for name, tensor in self.model.signature.inputs.items()}
        before, self._shapes = self._shapes, wanted
        with self._running():
            for index, shape in wanted.items():
                if shape != before[index]:
                    self._interpreter.resize_tensor_input(index, shape, strict=True)
            self._interpreter.allocate_tensors()

    def _running(self) -> AbstractContextManager[None]:
        """Turn failures into an error: of the shape of the data where the file leaves it open, else of the stage."""
        if self._open:
            shapes = " and ".join("x".join(map(str, shape)) for shape in self._shapes.values())
            return _plain(RefusedError, f"LiteRT can't run this model on inputs of {shapes}", self._where)
        return _plain(StageError, "the runtime failed while it ran the model", self._where)

    def _invoke(self, given: Feeds, tensors: Mapping[K, Tensor]) -> dict[K, Array]:
        """Values of the tensors in each invocation: (calls, *shape)."""
        inputs = [(port.index, given.stacks[name]) for name, port in self.model.signature.inputs.items()]
        outputs = {key: self._interpreter.tensor(each.index) for key, each in tensors.items()}
        stacks: dict[K, Array] = {}
        for call in range(given.calls):
            if self.model.stateful and given.starts(call) and self._reset():
                outputs = {key: self._interpreter.tensor(each.index) for key, each in tensors.items()}
            for index, stack in inputs:
                self._interpreter.set_tensor(index, stack[call])
            self._interpreter.invoke()  # raises RuntimeError while a view of a tensor exists
            if not call:
                stacks = {key: np.empty((given.calls, *view().shape), view().dtype) for key, view in outputs.items()}
            for key, view in outputs.items():
                stacks[key][call] = view()
        return stacks

    def _reset(self) -> bool:
        """Reset all state. Returns whether there is a new interpreter, which alone resets resource variables."""
        if not self.model.state.renewed:
            self._interpreter.reset_all_variables()
            return False
        self._start()
        if self._open:
            self._interpreter.allocate_tensors()
        return True

    def shapes(self, inputs: Mapping[str, Array]) -> dict[int, tuple[int, ...]]:
        """Shape of each computed tensor of the first subgraph, by its index, when the model runs on these inputs."""
        self.raw(inputs)
        found = {detail["index"]: detail["shape"] for detail in self._interpreter.get_tensor_details()}
        computed = (t for t in self.model.subgraphs[0].tensors if not t.constant and t.index in found)
        return {tensor.index: tuple(map(int, found[tensor.index])) for tensor in computed}

    def latency(self, x: Array | Mapping[str, Array], runs: int = 100, warmup: int = 10) -> Latency:
        """Wall time of an invocation, measured over `runs` invocations on the first example of x."""
        named = x if isinstance(x, Mapping) else {only(self.model)[0]: x}
        self.raw({name: value[:1] for name, value in named.items()})
        times = np.empty(warmup + runs)
        with self._running():
            for run in range(warmup + runs):
                start = time.perf_counter()
                self._interpreter.invoke()
                times[run] = time.perf_counter() - start
        p50, p95 = np.percentile(times[warmup:] * 1e3, (50, 95))
        return Latency(float(p50), float(p95), runs)


@overload
def run(source: ModelSource, x: Array, kernels: Kernels = ..., threads: int = ...) -> NDArray[np.float32]: ...
@overload
def run(
    source: ModelSource, x: Mapping[str, Array], kernels: Kernels = ..., threads: int = ...
) -> dict[str, NDArray[np.float32]]: ...
def run(
    source: ModelSource, x: Array | Mapping[str, Array], kernels: Kernels = "xnnpack", threads: int = 1
) -> NDArray[np.float32] | dict[str, NDArray[np.float32]]:
    """Run a model on real values: one array, or arrays by input name. See :class:`Runner`."""
    runner = Runner(source, kernels, threads)
    return runner.named(x) if isinstance(x, Mapping) else runner(x)


def raw(source: ModelSource, x: Array, kernels: Kernels = "xnnpack", workers: int | None = None) -> Array:
    """Same as `outputs`, for a model with one input and one output: (n, ...) to (n, ...)."""
    model = source if isinstance(source, Model) else read(source)
    name, output = only(model)
    return outputs(model, {name: x}, kernels, workers)[output]


def outputs(
    source: ModelSource, inputs: Mapping[str, Array], kernels: Kernels = "xnnpack", workers: int | None = None
) -> dict[str, Array]:
    """Outputs (n, ...) by name in the file's own type, in the order of the examples. inputs: name -> array (n, ...).

    Several interpreters with one thread each share the examples. Unless `workers` gives their number, it depends on the
    amount of work and the number of cores. They don't wait for each other, unlike the threads of one interpreter, which
    do on a busy machine.
    """
    model = source if isinstance(source, Model) else read(source)
    examples, own = min(map(len, inputs.values()), default=0), threading.local()
    done = itertools.count()

    def part(values: tuple[Array, ...]) -> dict[str, Array]:
        progress.step("example on LiteRT", next(done) * len(values[0]), examples)
        if not hasattr(own, "runner"):
            own.runner = Runner(model, kernels)
        runner: Runner = own.runner
        return runner.raw(dict(zip(inputs, values, strict=True)))

    work = examples * (steps(model, inputs) or 1) * model.macs
    count = workers or max(1, min(cores(), work // WORTH))
    split = (np.array_split(x, max(1, min(examples, count * PARTS))) for x in inputs.values())
    with ThreadPoolExecutor(count) as pool:  # invoke() releases Python's global interpreter lock
        found = list(pool.map(part, zip(*split, strict=True)))
    return {name: np.concatenate([each[name] for each in found]) for name in found[0]}


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def latency(
    source: ModelSource, x: Array | Mapping[str, Array], runs: int = 100, warmup: int = 10, kernels: Kernels = "xnnpack"
) -> Latency:
    """Latency of one example on one thread, on this machine."""
    progress.step("measuring the time")
    return Runner(source, kernels).latency(x, runs, warmup)


def interpreter(content: bytes, kernels: Kernels, threads: int = 1, keep: bool = False) -> Any:
    """LiteRT's own interpreter with the given kernels. It may crash on an invalid model."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType  # loads the native runtime: 0.1 s

    resolvers = {
        "xnnpack": OpResolverType.BUILTIN,
        "builtin": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        "reference": OpResolverType.BUILTIN_REF,
    }
    return Interpreter(
        model_content=content,
        num_threads=threads,
        experimental_op_resolver_type=resolvers[kernels],
        experimental_preserve_all_tensors=keep,
    )


@contextmanager
def _plain(error: type[InputError] | type[StageError], rule: str, where: str) -> Iterator[None]:
    """Turn the runtime's ValueError or RuntimeError into the given error, with its message on one line."""
    try:
        yield
    except (ValueError, RuntimeError) as problem:
        message = " ".join(str(problem).split())[:400]
        raise error(Fault(rule, where=where, received=message)) from problem
