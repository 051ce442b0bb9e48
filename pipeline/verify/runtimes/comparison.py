"""Run one file on every runtime: LiteRT with XNNPACK, LiteRT's reference kernels, TFLite Micro. Compare the results.

The same file gives different results on different kernels. Bit equality can't be expected (XNNPACK and the reference
kernels round differently), so the comparison gives the size of the differences, the flipped decisions and the metric.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline import tflite
from pipeline.core import processes, progress
from pipeline.core.errors import EdgepipeError
from pipeline.data.tasks.task import Truth
from pipeline.tflite.values import Array, last, only, real, steps
from pipeline.verify import finite
from pipeline.verify.interpreters import litert, tflm
from pipeline.verify.model_facts import RuntimeFacts
from pipeline.verify.runtimes.runtime import RUNTIMES
from pipeline.verify.scoring.scoring import SCORING, Verdicts

if TYPE_CHECKING:
    from pipeline.data.spec import Spec

Raw = NDArray[np.generic]  # outputs (n, ...) in the file's own type

SECONDS = (
    60  # time limit for what a budget allows, which takes about 2 s: for slow machines, and kernels that never end
)
MORE = 10  # times as many examples for the runtime on which checks are judged
LEAST = 32  # minimum number of examples, however large the model
WORTH = 2 * 10**9  # multiply-accumulates on XNNPACK that justify one more process: about 25 ms of one core


def sample(model: tflite.Model, runtime: str, examples: int, steps: int | None = None) -> int:
    """Number of examples, or of recordings of so many steps, that the named runtime gets: what its budget allows."""
    budget = RUNTIMES[runtime].budget
    return examples if budget is None else min(examples, max(LEAST, budget // max(model.macs * (steps or 1), 1)))


def main(model: tflite.Model) -> str:
    """Name of the runtime that a model's metrics are measured on."""
    return "tflm" if model.compressed else "xnnpack"


class Compared(NamedTuple):
    """Facts of each runtime, and by the runtime's name the verdicts (n,) for the examples that it was given."""

    facts: tuple[RuntimeFacts, ...]
    verdicts: dict[str, Verdicts]


def compare(
    path: Path, x: NDArray[np.float32], y: Truth, spec: "Spec", base: Raw, decisive: str | None = None
) -> Compared:
    """Run the file on every runtime, for examples x (N, ...) with labels or values y; that of `main` comes first.

    base: raw outputs (N, ...) of that. decisive: the runtime on which checks are judged; it is given MORE examples.
    """
    model = tflite.read(path)
    ((name, _),), (output,) = model.signature.inputs.items(), model.signature.outputs.values()
    scores, _ = _scored(path, base, output, x, y, spec)
    found = [RuntimeFacts(runtime=main(model), base=True, examples=len(x), **scores)]
    kept: dict[str, Verdicts] = {}
    for runtime in RUNTIMES:
        if runtime == main(model):
            continue
        if why := RUNTIMES[runtime].unavailable(model):
            found.append(RuntimeFacts(runtime=runtime, examples=0, unavailable=why))
            continue
        fits = sample(model, runtime, len(x), steps(model, {name: x}))
        count = min(len(x), fits * (MORE if runtime == decisive else 1))
        try:
            other = outputs(path, x[:count], runtime)
        except (EdgepipeError, tflm.Unavailable) as error:
            found.append(RuntimeFacts(runtime=runtime, examples=count, unavailable=reason(error)))
            continue
        scored, kept[runtime] = _scored(path, other, output, x[:count], y[:count], spec)
        numbers = not (scored["not_finite"] or scores["not_finite"])
        flipped = flips(real(other, output), real(base[:count], output), spec) if numbers else None
        facts = apart(runtime, other, base[:count], output.scale, count)
        found.append(facts.model_copy(update={**scored, "flips": flipped}))
    return Compared(tuple(found), kept)


def reason(error: Exception) -> str:
    """Why a file did not run, without its path, and what to do about it."""
    if not isinstance(error, EdgepipeError):
        return str(error)
    fault = error.faults[0]
    return f"{fault.reason}; {fault.do}" if fault.do else fault.reason


def _scored(
    path: Path, raw: Raw, output: tflite.Tensor, x: NDArray[np.float32], y: Truth, spec: "Spec"
) -> tuple[dict[str, Any], Verdicts]:
    """Fields of RuntimeFacts that hold metrics, and the verdicts (n,), of raw outputs for examples x (n, ...)."""
    if why := finite.reason(path, x, real(raw, output)):
        return {"not_finite": why}, unscored(real(raw, output), spec)
    scoring, rows = SCORING[spec.task.name], spec.task.rows(real(raw, output), spec)
    verdicts = scoring.verdicts(rows, x, y)
    value = scoring.main(verdicts, y)
    metrics = scoring.facts(rows, x, y, spec.labels, output.scale)["metrics"]
    fields = {"score": value, "metrics": metrics, "not_finite": ""} | ({"accuracy": value} if spec.task.decides else {})
    return fields, verdicts


def unscored(output: NDArray[np.floating], spec: "Spec") -> Verdicts:
    """Verdicts (N,) of outputs (N, ...) of which some are not finite: decisions for no label, or NaN."""
    return np.full(len(output), -1 if spec.task.decides else np.nan)


def flips(outputs: NDArray[np.floating], others: NDArray[np.floating], spec: "Spec") -> int | None:
    """Number of examples with different decisions in two outputs (N, ...); None for a task without decisions."""
    own, other = (spec.task.decisions(spec.task.rows(each, spec)) for each in (outputs, others))
    return None if own is None or other is None else int(np.sum(own != other))


def apart(runtime: str, other: Raw, base: Raw, scale: float | None, examples: int) -> RuntimeFacts:
    """Compare raw outputs of a runtime with those of the base runtime; both have the same shape.

    Two NaN count as equal. The difference between NaN and a number counts as infinite.
    """
    with np.errstate(all="ignore"):
        away = np.abs(other.astype(np.float64) - base.astype(np.float64))
    away[(other == base) | (np.isnan(other) & np.isnan(base))] = 0.0  # inf - inf is NaN
    largest = float(np.nan_to_num(away, nan=np.inf, posinf=np.inf).max(initial=0.0))
    return RuntimeFacts(
        runtime=runtime,
        examples=examples,
        differ=float(np.mean(away != 0)) if away.size else 0.0,
        max_lsb=int(largest) if scale is not None and other.dtype.kind in "iu" else None,
        max_abs=largest * (scale or 1.0) if np.isfinite(largest) else None,
    )


def outputs(path: Path, x: NDArray[np.float32], runtime: str) -> Raw:
    """Same as `raw_outputs`, for a file with one input and one output: (N, ...), of recordings after the last step."""
    model = tflite.read(path)
    name, output = only(model)
    return last(raw_outputs(path, {name: x}, runtime)[output], steps(model, {name: x}))


def raw_outputs(path: Path, inputs: Mapping[str, Array], runtime: str) -> dict[str, Raw]:
    """Raw outputs (N, ...) by name, in the order of the examples, for inputs (N, ...) by name.

    The runtime runs in separate processes, so a file that crashes it raises StageError. A runtime that holds Python's
    global interpreter lock shares the examples among processes, others share them among threads. The number of
    processes depends on the amount of work and the number of cores.
    """
    chosen, model = RUNTIMES[runtime], tflite.read(path)
    examples = min(map(len, inputs.values()), default=0)
    macs = examples * (steps(model, inputs) or 1) * model.macs
    work = macs * chosen.cost
    count = max(1, min(litert.cores(), examples, work // WORTH)) if chosen.locks else 1
    split = {name: np.array_split(x, count) for name, x in inputs.items()}
    calls = [(_run, runtime, path, {name: parts[i] for name, parts in split.items()}) for i in range(count)]
    share = 1.0 if chosen.budget is None else macs / chosen.budget
    limits = processes.Limits(seconds=None if chosen.budget is None else SECONDS * max(1.0, share))
    found = processes.gather(f"{chosen.title} on {path.name}", calls, limits, hear=progress.tell)
    return {name: np.concatenate([part[name] for part in found]) for name in found[0]}


def _run(send: processes.Send, runtime: str, path: Path, inputs: Mapping[str, Array]) -> None:
    """Run a share of the examples; called in each process."""
    send(RUNTIMES[runtime].run(path, inputs))
