"""Compare a file's outputs between runtimes, and with those of a baseline, on named input arrays without labels."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import tflite
from pipeline.core.errors import EdgepipeError
from pipeline.tflite.values import Array, real, steps
from pipeline.verify import finite
from pipeline.verify.interpreters import litert, tflm
from pipeline.verify.model_facts import OutputError, OutputFacts, RuntimeFacts
from pipeline.verify.runtimes import comparison
from pipeline.verify.runtimes.runtime import RUNTIMES
from pipeline.verify.sqnr import sqnr_db

BASE = "xnnpack"  # the runtime that the others are compared with

Real = dict[str, NDArray[np.float32]]  # output name -> values in real units


def compare(path: Path, inputs: Mapping[str, Array], baseline: Path | None) -> tuple[OutputFacts, ...]:
    """Compare each output of a file, in the order of its signature. inputs: input name -> array (N, ...).

    A runtime that can't run the file is marked `unavailable`. Raises InputError for data that does not fit the file,
    StageError when a file crashes LiteRT.
    """
    ports = tflite.read(path).signature.outputs
    try:
        base = comparison.raw_outputs(path, inputs, BASE)
    except litert.RefusedError as error:
        refused = RuntimeFacts(runtime=BASE, examples=0, unavailable=comparison.reason(error))
        why = "the file did not run"
        return tuple(OutputFacts(name=name, runtimes=(refused,), error_why=why) for name in ports)
    found = {
        name: [RuntimeFacts(runtime=BASE, examples=_examples(inputs), not_finite=_broken(raw, ports[name]))]
        for name, raw in base.items()
    }
    for runtime in (name for name in RUNTIMES if name != BASE):
        for name, facts in _on(runtime, path, inputs, base).items():
            found[name].append(facts)
    rows = (OutputFacts(name=name, runtimes=tuple(facts)) for name, facts in found.items())
    if baseline is None:
        return tuple(rows)
    values = {name: real(raw, ports[name]) for name, raw in base.items()}
    wanted = _real_outputs(baseline, inputs)
    return tuple(row.model_copy(update=_error(values[row.name], row.name, wanted)) for row in rows)


def _broken(raw: comparison.Raw, port: tflite.Tensor) -> str:
    """For how many examples an output is NaN or infinite; "" for none."""
    which = finite.broken(real(raw, port))
    return f"gives NaN or infinity for {which.sum()} of {len(which)} examples" if which.any() else ""


def _examples(inputs: Mapping[str, Array]) -> int:
    return min(map(len, inputs.values()), default=0)


def _on(
    runtime: str, path: Path, inputs: Mapping[str, Array], base: Mapping[str, comparison.Raw]
) -> dict[str, RuntimeFacts]:
    model = tflite.read(path)
    count = comparison.sample(model, runtime, _examples(inputs), steps(model, inputs))
    try:
        other = comparison.raw_outputs(path, {name: x[:count] for name, x in inputs.items()}, runtime)
    except (EdgepipeError, tflm.Unavailable) as error:
        return {
            name: RuntimeFacts(runtime=runtime, examples=count, unavailable=comparison.reason(error)) for name in base
        }
    return {
        name: comparison.apart(
            runtime, raw, base[name][: len(raw)], model.signature.outputs[name].scale, count
        ).model_copy(update={"not_finite": _broken(raw, model.signature.outputs[name])})
        if raw.shape[1:] == base[name].shape[1:]
        else RuntimeFacts(runtime=runtime, examples=count, unavailable=f"its output has the shape {raw.shape}")
        for name, raw in other.items()
    }


def _real_outputs(path: Path, inputs: Mapping[str, Array]) -> Real:
    """Outputs of the baseline file. Raises an error when it can't run."""
    outputs = tflite.read(path).signature.outputs
    return {name: real(raw, outputs[name]) for name, raw in comparison.raw_outputs(path, inputs, BASE).items()}


def _error(found: NDArray[np.float32], name: str, base: Real) -> dict[str, object]:
    """The fields `error` and `error_why` of OutputFacts."""
    if name not in base:
        return {"error_why": f"the baseline has no output {name!r}, but {', '.join(map(repr, base))}"}
    if base[name].shape != found.shape:
        return {"error_why": f"the baseline's output has the shape {base[name].shape}, this one {found.shape}"}
    if not (np.isfinite(found).all() and np.isfinite(base[name]).all()):
        return {"error_why": "there are values that are not finite"}
    return {"error": error(found, base[name]), "error_why": ""}


def error(found: NDArray[np.float32], base: NDArray[np.float32]) -> OutputError:
    """Difference between an output and the baseline's, both finite, in real units and of the same shape."""
    q, f = found.astype(np.float64).ravel(), base.astype(np.float64).ravel()
    e = q - f
    noise, signal, norms = float(e @ e), float(f @ f), float(np.linalg.norm(q) * np.linalg.norm(f))
    return OutputError(
        mean_abs=float(np.abs(e).mean()) if e.size else 0.0,
        max_abs=float(np.abs(e).max(initial=0.0)),
        sqnr_db=sqnr_db(signal, noise),
        cosine=float(q @ f) / norms if norms else None,
    )
