"""The measurements of a verify stage. None depends on checks, limits or the target."""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import tflite
from pipeline.core import processes
from pipeline.core.errors import EdgepipeError
from pipeline.core.progress import Progress, listening
from pipeline.data.source import Data
from pipeline.data.spec import Spec
from pipeline.data.tasks.task import Truth
from pipeline.keras import tf
from pipeline.keras.layer_values import layer_values
from pipeline.keras.types import KerasModel
from pipeline.stages.lineage import lineage
from pipeline.stages.stage import DECISIONS, MEASURED, Artifact, Inputs
from pipeline.stages.touched import share_of_zeros, touched
from pipeline.verify import app_mistakes, measurement, tensor_errors
from pipeline.verify.device import Asked
from pipeline.verify.model_facts import Errors, ModelFacts
from pipeline.verify.runtimes import comparison
from pipeline.verify.scoring.scoring import Verdicts
from pipeline.verify.sqnr import sqnr_db


def measure(inputs: Inputs, work: Path, device: Asked) -> None:
    """Measure every model, and write facts (MEASURED) and verdicts (DECISIONS) into the empty directory `work`."""
    processes.start_server(None, processes.RUNTIMES)  # its imports run in parallel with the next lines
    tf.start(inputs.seed)
    test = inputs.data.split("test")
    x, y = test.batch(np.arange(len(test)))
    measured, verdicts = [], []
    elsewhere: dict[str, Verdicts] = {}
    for i, (name, artifact) in enumerate(inputs.upstream.items(), start=1):
        path = artifact.tflite
        with named(name, path), listening(partial(_within, inputs, i - 1)):
            facts, kept, others = measure_file(name, path, artifact, device, inputs.data, x, y)
        measured.append(facts)
        verdicts.append(kept)
        elsewhere |= {f"{i - 1}@{runtime}": each for runtime, each in others.items()}
        inputs.report(Progress("model", i, len(inputs.upstream)))
    (work / MEASURED).write_text(
        json.dumps([facts.model_dump(mode="json") for facts in measured], indent=1), encoding="utf-8"
    )
    arrays: dict[str, Any] = {"y": y, "decisions": np.stack(verdicts), **elsewhere}
    np.savez(work / DECISIONS, **arrays)


def _within(inputs: Inputs, done: int, progress: Progress) -> None:
    """Report what is measured of a model, behind `done` others."""
    inputs.report(Progress("model", done, len(inputs.upstream), within=progress))


@contextmanager
def named(name: str, path: Path) -> Iterator[None]:
    """Tell errors of a file in the store by the name that the user gave the model."""
    try:
        yield
    except EdgepipeError as error:
        faults = (replace(fault, where="" if fault.where == str(path) else fault.where) for fault in error.faults)
        raise type(error)(*(replace(each, rule=f"model {name!r}: {each.rule}") for each in faults)) from error


def measure_file(
    name: str, path: Path, made: Artifact | None, device: Asked, data: Data, x: NDArray[np.float32], y: Truth
) -> tuple[ModelFacts, Verdicts, dict[str, Verdicts]]:
    """All facts of one file, and its verdicts (N,).

    made  the artifact that the file belongs to; if None, nothing is compared with the Keras model
    x, y  the test split: examples (N, ...) float32, and labels or values (N, ...)
    """
    spec = data.spec()
    found = measurement.run(measurement.read(name, path), path, x, y, spec, data.split("test").sha256)

    kept: dict[str, Verdicts] = {}

    def elsewhere() -> dict[str, Any]:
        compared = comparison.compare(path, x, y, spec, found.raw, device.runtime)
        kept.update(compared.verdicts)
        return {
            "runtimes": compared.facts,
            **device.measure(path, dict.fromkeys(tflite.read(path).signature.inputs, x)),
        }

    with ThreadPoolExecutor(1) as pool:  # it waits for other processes while this one runs TensorFlow
        others = pool.submit(elsewhere)
        here = {"mistakes": app_mistakes.measure(path, data)}
        source = _loaded(_keras(made).keras) if made else None
        wanted = None if source is None else tf.predict(source, data.split("test"))
        keras = _against_keras(path, made, found.facts, source, x) if made and source else {}
        there = others.result()
    if wanted is not None and np.isfinite(found.output).all():
        keras["error"] = _errors(found.output, wanted, kept, spec)
    return found.facts.model_copy(update=here | keras | there), found.verdicts, kept


def _against_keras(
    path: Path, made: Artifact, facts: ModelFacts, source: KerasModel, x: NDArray[np.float32]
) -> dict[str, Any]:
    """The fields of ModelFacts that compare a file's weights and tensors with the Keras model that it was made from."""
    model = tflite.read(path)
    pruned, clustered = touched(made, facts.kernels, "pruned"), touched(made, facts.kernels, "clustered")
    traced = tensor_errors.sample(model, x)
    return {
        "pruned": pruned.tensors,
        "pruned_sparsity": share_of_zeros(facts.kernels, pruned.tensors),
        "pruned_why": pruned.why,
        "clustered": clustered.tensors,
        "clustered_why": clustered.why,
        "tensors": tensor_errors.errors(path, traced, layer_values(source, traced)) if len(traced) else (),
    }


@lru_cache(maxsize=1)  # consecutive files are often made from the same model
def _loaded(path: Path) -> KerasModel:
    return tf.load_model(path)


def _keras(made: Artifact) -> Artifact:
    """The artifact with the Keras model that a file was made from; `made` itself if its stage made both (auto)."""
    return next(each for each in lineage(made) if each.keras.is_file())


def _errors(
    output: NDArray[np.floating], keras: NDArray[np.floating], elsewhere: Mapping[str, Verdicts], spec: Spec
) -> Errors:
    """Errors of outputs (N, ...) against the Keras model's, in real units.

    elsewhere: by name the verdicts (n,) of other runtimes, for the first n examples.
    """
    error = output.astype(np.float64) - keras
    flips = comparison.flips(output, keras, spec)
    power = float(np.sum(error**2))
    decided = spec.task.decisions(spec.task.rows(keras, spec))
    same = {} if decided is None else {name: np.mean(own == decided[: len(own)]) for name, own in elsewhere.items()}
    return Errors(
        mean_abs=float(np.abs(error).mean()),
        max_abs=float(np.abs(error).max()),
        sqnr_db=sqnr_db(float(np.sum(keras.astype(np.float64) ** 2)), power),
        agreement=None if flips is None else 1 - flips / len(output),
        runtimes={name: float(share) for name, share in same.items()},
    )
