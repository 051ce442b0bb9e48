"""One file on every runtime that users ship on: LiteRT with XNNPACK, LiteRT's reference kernels, TFLite Micro.

The same bytes give other results on other kernels. Bit equality is not to be had (XNNPACK and the reference kernels
round differently), so what counts is how far they are apart and how many decisions flip.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline import child, litert, tflite, tflm
from pipeline.errors import EdgepipeError
from pipeline.facts import RuntimeFacts
from pipeline.tflite.values import Array, only

Runtime = Literal["xnnpack", "reference", "tflm"]
Raw = NDArray[np.generic]  # outputs as the file gives them, (n, ...)

# Multiply-accumulates that a runtime is given, about two seconds of one core each (measured on ResNet-8, 12.5 M MACs:
# XNNPACK 0.15 ms, reference kernels 3.5 ms, TFLM 7 ms an image). A count, not a clock: the sample is the same anywhere.
BUDGET: dict[Runtime, int] = {"reference": 7 * 10**9, "tflm": 4 * 10**9}
SECONDS = 300  # of wall time for what the budget allows: where the machine is that slow, or a kernel never ends
KERNELS: dict[Runtime, str] = {
    "xnnpack": "LiteRT", "reference": "LiteRT with reference kernels", "tflm": "TFLite Micro",
}  # fmt: skip
LEAST = 32  # examples, however large the model
WORTH = 2 * 10**9  # multiply-accumulates on XNNPACK that are worth a second process: about 25 ms of a core


def sample(model: tflite.Model, runtime: Runtime, examples: int) -> int:
    """How many of the examples a runtime is given: all that its budget allows."""
    if runtime not in BUDGET:
        return examples
    return min(examples, max(LEAST, BUDGET[runtime] // max(model.macs, 1)))


def compare(path: Path, x: NDArray[np.float32], y: NDArray[np.int64]) -> tuple[RuntimeFacts, ...]:
    """Facts of each runtime on examples x (N, ...) with labels y (N,), LiteRT with XNNPACK first."""
    model = tflite.read(path)
    (output,) = model.signature.outputs.values()
    base = outputs(path, x, "xnnpack")
    decisions = base.reshape(len(base), -1).argmax(axis=1)
    found = [RuntimeFacts(runtime="xnnpack", examples=len(x), accuracy=float(np.mean(decisions == y)))]
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
    decisions = other.reshape(len(other), -1).argmax(axis=1)
    found = {
        "accuracy": float(np.mean(decisions == y)),
        "flips": int(np.sum(decisions != base.reshape(len(base), -1).argmax(axis=1))),
    }
    return apart(runtime, other, base, scale, len(y)).model_copy(update=found)


def apart(runtime: Runtime, other: Raw, base: Raw, scale: float | None, examples: int) -> RuntimeFacts:
    """How far the outputs of a runtime are from those of LiteRT with XNNPACK, both of one shape.

    Two NaN are equal; a NaN against a number is infinitely far from it, as the largest difference.
    """
    with np.errstate(all="ignore"):
        away = np.abs(other.astype(np.float64) - base.astype(np.float64))
    away[(other == base) | (np.isnan(other) & np.isnan(base))] = 0.0  # infinity less infinity is no number
    largest = float(np.nan_to_num(away, nan=np.inf, posinf=np.inf).max(initial=0.0))
    return RuntimeFacts(
        runtime=runtime,
        examples=examples,
        differ=float(np.mean(away != 0)) if away.size else 0.0,
        max_lsb=int(largest) if scale is not None and other.dtype.kind in "iu" else None,
        max_abs=largest * (scale or 1.0) if np.isfinite(largest) else None,
    )


def outputs(path: Path, x: NDArray[np.float32], runtime: Runtime) -> Raw:
    """As `answers`, for a file with one input and one output."""
    name, output = only(tflite.read(path))
    return answers(path, {name: x}, runtime)[output]


def answers(path: Path, inputs: Mapping[str, Array], runtime: Runtime) -> dict[str, Raw]:
    """Raw outputs (N, ...) by name, in their order, from as many processes as the work is worth and there are cores.

    inputs (N, ...) by name. Processes share a busy machine fairly, where the threads of one interpreter would wait for
    each other. A file that crashes its runtime is a StageError.
    """
    model = tflite.read(path)
    examples = min(map(len, inputs.values()), default=0)
    work = examples * max(model.macs, 1) * {"xnnpack": 1, "reference": 23, "tflm": 47}[runtime]
    if model.quantization == "int16x8" and runtime == "xnnpack":
        work *= 31  # XNNPACK takes no int16: built-in kernels, 4.7 ms for that ResNet-8
    count = max(1, min(os.cpu_count() or 1, work // WORTH, examples))
    split = {name: np.array_split(x, count) for name, x in inputs.items()}
    calls = [(_answers, runtime, path, {name: parts[i] for name, parts in split.items()}) for i in range(count)]
    limits = child.Limits(seconds=SECONDS if runtime in BUDGET else None)
    found = child.gather(f"{KERNELS[runtime]} on {path.name}", calls, limits)
    return {name: np.concatenate([part[name] for part in found]) for name in found[0]}


def _answers(send: child.Send, runtime: Runtime, path: Path, inputs: Mapping[str, Array]) -> None:
    """What each process does."""
    model = tflite.read(path)
    send(tflm.raw(model, inputs) if runtime == "tflm" else litert.Runner(model, kernels=runtime).raw(inputs))
