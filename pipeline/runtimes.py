"""One file on every runtime that users ship on: LiteRT with XNNPACK, LiteRT's reference kernels, TFLite Micro.

The same bytes give other results on other kernels. Bit equality is not to be had (XNNPACK and the reference kernels
round differently), so what counts is how far they are apart and how many decisions flip.
"""

import os
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline import child, litert, tflite, tflm
from pipeline.errors import EdgepipeError
from pipeline.facts import RuntimeFacts

Runtime = Literal["xnnpack", "reference", "tflm"]
Raw = NDArray[np.generic]  # outputs as the file gives them, (n, ...)

# Multiply-accumulates that a runtime is given, about two seconds of one core each (measured on ResNet-8, 12.5 M MACs:
# XNNPACK 0.15 ms, reference kernels 3.5 ms, TFLM 7 ms an image). A count, not a clock: the sample is the same anywhere.
BUDGET: dict[Runtime, int] = {"reference": 7 * 10**9, "tflm": 4 * 10**9}
NO_DECODER = "its weights are compressed for TensorFlow Lite Micro; LiteRT has no TFLM_DECODE op"
LEAST = 32  # examples, however large the model
WORTH = 2 * 10**9  # multiply-accumulates on XNNPACK that are worth a second process: about 25 ms of a core


def sample(model: tflite.Model, runtime: Runtime, examples: int) -> int:
    """How many of the examples a runtime is given: all that its budget allows."""
    if runtime not in BUDGET:
        return examples
    return min(examples, max(LEAST, BUDGET[runtime] // max(model.macs, 1)))


def main(model: tflite.Model) -> Runtime:
    """The runtime whose outputs a model's metrics are of."""
    return "tflm" if model.compressed else "xnnpack"


def compare(path: Path, x: NDArray[np.float32], y: NDArray[np.int64]) -> tuple[RuntimeFacts, ...]:
    """Facts of each runtime on examples x (N, ...) with labels y (N,), that of `main` first."""
    model = tflite.read(path)
    (output,) = model.signature.outputs.values()
    base = outputs(path, x, main(model))
    decisions = base.reshape(len(base), -1).argmax(axis=1)
    accuracy = float(np.mean(decisions == y))
    found = [RuntimeFacts(runtime=main(model), base=True, examples=len(x), accuracy=accuracy)]
    if model.compressed:
        others: tuple[Runtime, ...] = ("xnnpack", "reference")
        return (*found, *(RuntimeFacts(runtime=other, examples=0, unavailable=NO_DECODER) for other in others))
    for runtime in BUDGET:
        count = sample(model, runtime, len(x))
        try:
            other = outputs(path, x[:count], runtime)
        except (EdgepipeError, tflm.Unavailable) as error:
            found.append(RuntimeFacts(runtime=runtime, examples=count, unavailable=str(error)))
            continue
        found.append(_against(runtime, other, base[:count], y[:count], output.scale))
    return tuple(found)


def _against(runtime: Runtime, other: Raw, base: Raw, y: NDArray[np.int64], scale: float | None) -> RuntimeFacts:
    apart = np.abs(other.astype(np.float64) - base.astype(np.float64))
    decisions = other.reshape(len(other), -1).argmax(axis=1)
    return RuntimeFacts(
        runtime=runtime,
        examples=len(y),
        accuracy=float(np.mean(decisions == y)),
        differ=float(np.mean(other != base)),
        max_lsb=int(apart.max()) if scale is not None else None,
        max_abs=float(apart.max()) * (scale or 1.0),
        flips=int(np.sum(decisions != base.reshape(len(base), -1).argmax(axis=1))),
    )


def outputs(path: Path, x: NDArray[np.float32], runtime: Runtime) -> Raw:
    """Raw outputs (N, ...) in their order, from as many processes as the work is worth and the machine has cores.

    Processes share a busy machine fairly, where the threads of one interpreter would wait for each other. A file that
    crashes its runtime is a StageError.
    """
    model = tflite.read(path)
    work = len(x) * max(model.macs, 1) * {"xnnpack": 1, "reference": 23, "tflm": 47}[runtime]
    if model.quantization == "int16x8" and runtime == "xnnpack":
        work *= 31  # XNNPACK takes no int16: built-in kernels, 4.7 ms for that ResNet-8
    count = max(1, min(os.cpu_count() or 1, work // WORTH, len(x)))
    parts = np.array_split(x, count)
    return np.concatenate(child.gather(f"{runtime} runtime", [(_outputs, runtime, path, part) for part in parts]))


def _outputs(send: child.Send, runtime: Runtime, path: Path, x: NDArray[np.float32]) -> None:
    """What each process does."""
    model = tflite.read(path)
    ((name, _),) = model.signature.inputs.items()
    if runtime == "tflm":
        (result,) = tflm.raw(model, {name: x}).values()
    else:
        (result,) = litert.Runner(model, kernels=runtime).raw({name: x}).values()
    send(result)
