"""One file on every runtime that users ship on: LiteRT with XNNPACK, LiteRT's reference kernels, TFLite Micro.

The same bytes give other results on other kernels. Bit equality is not to be had (XNNPACK and the reference kernels
round differently), so what counts is how far they are apart, and how many decisions flip or what becomes of the metric.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline import tflite
from pipeline.core import processes
from pipeline.core.errors import EdgepipeError
from pipeline.data.tasks.task import Truth
from pipeline.tflite.values import Array, only, real
from pipeline.verify.interpreters import litert, tflm
from pipeline.verify.model_facts import RuntimeFacts
from pipeline.verify.runtimes.runtime import RUNTIMES
from pipeline.verify.scoring.scoring import SCORING

if TYPE_CHECKING:
    from pipeline.data.spec import Spec

Raw = NDArray[np.generic]  # outputs as the file gives them, (n, ...)

SECONDS = 300  # of wall time for what a budget allows: where the machine is that slow, or a kernel never ends
LEAST = 32  # examples, however large the model
WORTH = 2 * 10**9  # multiply-accumulates, as of XNNPACK, that are worth a second process: about 25 ms of a core


def sample(model: tflite.Model, runtime: str, examples: int) -> int:
    """How many of the examples a runtime, by its name, is given: all that its budget allows."""
    budget = RUNTIMES[runtime].budget
    return examples if budget is None else min(examples, max(LEAST, budget // max(model.macs, 1)))


def main(model: tflite.Model) -> str:
    """The name of the runtime whose outputs a model's metrics are of."""
    return "tflm" if model.compressed else "xnnpack"


def compare(path: Path, x: NDArray[np.float32], y: Truth, spec: "Spec", base: Raw) -> tuple[RuntimeFacts, ...]:
    """Facts of each runtime on examples x (N, ...) with labels or values y, that of `main` first.

    base: what that gave for them, raw (N, ...).
    """
    model = tflite.read(path)
    (output,) = model.signature.outputs.values()
    scores = _scored(base, output, x, y, spec)
    found = [RuntimeFacts(runtime=main(model), base=True, examples=len(x), **scores)]
    for runtime in RUNTIMES:
        if runtime == main(model):
            continue
        if why := RUNTIMES[runtime].unavailable(model):
            found.append(RuntimeFacts(runtime=runtime, examples=0, unavailable=why))
            continue
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


def apart(runtime: str, other: Raw, base: Raw, scale: float | None, examples: int) -> RuntimeFacts:
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


def outputs(path: Path, x: NDArray[np.float32], runtime: str) -> Raw:
    """As `raw_outputs`, for a file with one input and one output."""
    name, output = only(tflite.read(path))
    return raw_outputs(path, {name: x}, runtime)[output]


def raw_outputs(path: Path, inputs: Mapping[str, Array], runtime: str) -> dict[str, Raw]:
    """Raw outputs (N, ...) by name, in their order, for inputs (N, ...) by name, by all cores that the work is worth.

    In processes of their own: a file that crashes its runtime is a StageError. A runtime that holds Python's lock
    shares the examples among processes; others do among threads.
    """
    chosen = RUNTIMES[runtime]
    examples = min(map(len, inputs.values()), default=0)
    work = examples * tflite.read(path).macs * chosen.cost
    count = max(1, min(litert.cores(), examples, work // WORTH)) if chosen.locks else 1
    split = {name: np.array_split(x, count) for name, x in inputs.items()}
    calls = [(_run, runtime, path, {name: parts[i] for name, parts in split.items()}) for i in range(count)]
    limits = processes.Limits(seconds=None if chosen.budget is None else SECONDS)
    found = processes.gather(f"{chosen.title} on {path.name}", calls, limits)
    return {name: np.concatenate([part[name] for part in found]) for name in found[0]}


def _run(send: processes.Send, runtime: str, path: Path, inputs: Mapping[str, Array]) -> None:
    """What each process does."""
    send(RUNTIMES[runtime].run(path, inputs))
