"""One file on every runtime that users ship on: LiteRT with XNNPACK, LiteRT's reference kernels, TFLite Micro.

The same bytes give other results on other kernels. Bit equality is not to be had (XNNPACK and the reference kernels
round differently), so what counts is how far they are apart, and how many decisions flip or what becomes of the metric.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline import child, litert, tflite, tflm
from pipeline.errors import EdgepipeError
from pipeline.facts import RuntimeFacts
from pipeline.scoring import SCORING
from pipeline.task import Truth
from pipeline.tflite.values import Array, only, real

if TYPE_CHECKING:
    from pipeline.stage import Spec

Runtime = Literal["xnnpack", "reference", "tflm"]
Raw = NDArray[np.generic]  # outputs as the file gives them, (n, ...)

# Multiply-accumulates that a runtime is given, about two seconds of one core each (measured on ResNet-8, 12.5 M MACs:
# XNNPACK 0.15 ms, reference kernels 3.5 ms, TFLM 7 ms an image). A count, not a clock: the sample is the same anywhere.
BUDGET: dict[Runtime, int] = {"reference": 7 * 10**9, "tflm": 4 * 10**9}
SECONDS = 300  # of wall time for what the budget allows: where the machine is that slow, or a kernel never ends
KERNELS: dict[Runtime, str] = {
    "xnnpack": "LiteRT", "reference": "LiteRT with reference kernels", "tflm": "TFLite Micro",
}  # fmt: skip
NO_DECODER = "its weights are compressed for TensorFlow Lite Micro; LiteRT has no TFLM_DECODE op"
LEAST = 32  # examples, however large the model
SLOWER: dict[Runtime, int] = {"xnnpack": 1, "reference": 23, "tflm": 47}  # from the same measurement
WORTH = 2 * 10**9  # multiply-accumulates, as of XNNPACK, that are worth a second process: about 25 ms of a core


def sample(model: tflite.Model, runtime: Runtime, examples: int) -> int:
    """How many of the examples a runtime is given: all that its budget allows."""
    if runtime not in BUDGET:
        return examples
    return min(examples, max(LEAST, BUDGET[runtime] // max(model.macs, 1)))


def main(model: tflite.Model) -> Runtime:
    """The runtime whose outputs a model's metrics are of."""
    return "tflm" if model.compressed else "xnnpack"


def compare(path: Path, x: NDArray[np.float32], y: Truth, spec: "Spec", base: Raw) -> tuple[RuntimeFacts, ...]:
    """Facts of each runtime on examples x (N, ...) with labels or values y, that of `main` first.

    base: what that gave for them, raw (N, ...).
    """
    model = tflite.read(path)
    (output,) = model.signature.outputs.values()
    scores = _scored(base, output, x, y, spec)
    found = [RuntimeFacts(runtime=main(model), base=True, examples=len(x), **scores)]
    if model.compressed:
        others: tuple[Runtime, ...] = ("xnnpack", "reference")
        return (*found, *(RuntimeFacts(runtime=other, examples=0, unavailable=NO_DECODER) for other in others))
    for runtime in BUDGET:
        count = sample(model, runtime, len(x))
        try:
            other = outputs(path, x[:count], runtime)
        except (EdgepipeError, tflm.Unavailable) as error:
            why = error.faults[0].reason if isinstance(error, EdgepipeError) else str(error)
            found.append(RuntimeFacts(runtime=runtime, examples=count, unavailable=why))
            continue
        scored = _scored(other, output, x[:count], y[:count], spec)
        flipped = flips(real(other, output), real(base[:count], output), spec)
        facts = apart(runtime, other, base[:count], output.scale, count)
        found.append(facts.model_copy(update={**scored, "flips": flipped}))
    return tuple(found)


def _scored(raw: Raw, output: tflite.Tensor, x: NDArray[np.float32], y: Truth, spec: "Spec") -> dict[str, float | None]:
    """The task's main metric of raw outputs, under its name of RuntimeFacts too where it has one."""
    scoring = SCORING[spec.task.name]
    value = scoring.main(scoring.verdicts(spec.task.rows(real(raw, output), spec), x, y), y)
    return {"score": value} | ({"accuracy": value} if spec.task.decides else {})


def flips(outputs: NDArray[np.floating], others: NDArray[np.floating], spec: "Spec") -> int | None:
    """Examples for which two models' outputs (N, ...) decide differently; None where nothing is decided."""
    own, other = (spec.task.decisions(spec.task.rows(each, spec)) for each in (outputs, others))
    return None if own is None or other is None else int(np.sum(own != other))


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
    """Raw outputs (N, ...) by name, in their order, for inputs (N, ...) by name, by all cores that the work is worth.

    In processes of their own: a file that crashes its runtime is a StageError. LiteRT shares the examples among
    threads; TFLM, which holds Python's lock while it runs, among processes.
    """
    examples = min(map(len, inputs.values()), default=0)
    work = examples * tflite.read(path).macs * SLOWER[runtime]
    count = max(1, min(litert.cores(), examples, work // WORTH)) if runtime == "tflm" else 1
    split = {name: np.array_split(x, count) for name, x in inputs.items()}
    calls = [(_answers, runtime, path, {name: parts[i] for name, parts in split.items()}) for i in range(count)]
    limits = child.Limits(seconds=SECONDS if runtime in BUDGET else None)
    found = child.gather(f"{KERNELS[runtime]} on {path.name}", calls, limits)
    return {name: np.concatenate([part[name] for part in found]) for name in found[0]}


def _answers(send: child.Send, runtime: Runtime, path: Path, inputs: Mapping[str, Array]) -> None:
    """What each process does."""
    if runtime == "tflm":
        send(tflm.raw(tflite.read(path), inputs))
    else:
        send(litert.answers(path, inputs, runtime))
