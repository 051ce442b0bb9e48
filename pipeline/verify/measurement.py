"""Measure a .tflite file: facts read from its bytes, and results of running it on examples. No TensorFlow."""

import gzip
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline import tflite
from pipeline.core.errors import Fault, StageError
from pipeline.data import contract
from pipeline.data.tasks.task import Truth
from pipeline.tflite import demands
from pipeline.tflite.values import last, only, real, steps
from pipeline.verify import finite, int8
from pipeline.verify.interpreters import litert, tflm
from pipeline.verify.model_facts import KernelFacts, Latency, LayerFacts, ModelFacts, Port
from pipeline.verify.runtimes import comparison
from pipeline.verify.scoring.scoring import SCORING, Verdicts

if TYPE_CHECKING:
    from pipeline.data.spec import Spec


class Measured(NamedTuple):
    """Results of `run`.

    raw       outputs (N, ...) in the file's own type
    output    the same outputs in real units
    verdicts  one value for each example (N,), used to compare the file with another one
    """

    facts: ModelFacts
    raw: comparison.Raw
    output: NDArray[np.floating]
    verdicts: Verdicts


def read(name: str, path: Path) -> ModelFacts:
    """Read the facts in the file's bytes, without running it. Raises InputError for an invalid file."""
    model = tflite.read(path)
    carried, why = contract.read(model.metadata, [tensor.shape for tensor in model.inputs])
    return ModelFacts(
        name=name,
        file=f"{name}.tflite",
        sha256=model.sha256,
        bytes=model.bytes,
        gzip_bytes=len(gzip.compress(model.content, 9, mtime=0)),
        verified=True,
        quantization=model.quantization,
        integer_only=model.integer_only,
        floats=tuple(map(str, model.floats())),
        rules=int8.breaches(model),
        ops=model.ops_count(),
        op_versions=demands.op_versions(model),
        min_runtime_version=model.min_runtime_version or None,
        op_dtypes=demands.op_dtypes(model),
        dynamic=demands.dynamic(model),
        macs=model.macs,
        parameters=model.parameters,
        input=_port(model.inputs),
        output=_port(model.outputs),
        inputs=tuple(map(_one, model.inputs)),
        outputs=tuple(map(_one, model.outputs)),
        contract=carried,
        contract_why=why,
        layers_known=model.layers_known,
        kernels={
            name: KernelFacts(layers=layers, op=op.name, weights=tensor.elements, zeros=zeros)
            for name, (tensor, op, layers, zeros) in model.kernels().items()
        },
        sparsity=model.sparsity(),
        unique_values=model.unique_values(),
        layers=tuple(LayerFacts(**asdict(layer)) for layer in model.layers()),
    )


def run(facts: ModelFacts, path: Path, x: NDArray[np.float32], y: Truth, spec: "Spec", split: str) -> Measured:
    """Run the file on examples x (N, ...) with labels or values y, and add the results to its facts.

    split is the sha256 of the examples, stored with the metrics. Raises InputError when the file does not fit them.
    """
    model = tflite.read(path)
    raw = _raw(model, path, x)
    (port,) = model.signature.outputs.values()
    output = real(raw, port)
    scoring = SCORING[spec.task.name]
    why = finite.reason(path, x, output)
    rows = spec.task.rows(np.zeros_like(output) if why else output, spec)
    scored = scoring.facts(rows, x, y, spec.labels, facts.output.scale if facts.output else None)
    if why:  # nothing is scored by what is no number
        scored = {"metrics": {}, "missing": dict.fromkeys([*scored["metrics"], *scored.get("missing", {})], why)}
    unfit = int8.unfit_input(model, float(x.min()), float(x.max()))
    measured = {
        "rules": None if facts.rules is None else (*facts.rules, *unfit),
        "examples": len(y),
        "split_sha256": split,
        "task": spec.task.name,
        **scored,
        "latency_ms": None if model.compressed else Latency(**litert.latency(path, x[:1])._asdict()),
    }
    verdicts = comparison.unscored(output, spec) if why else scoring.verdicts(rows, x, y)
    return Measured(facts.model_copy(update=measured), raw, output, verdicts)


def _raw(model: tflite.Model, path: Path, x: NDArray[np.float32]) -> comparison.Raw:
    """Raw outputs (N, ...) on the runtime that the file's metrics are measured on.

    Raises StageError when that runtime is not installed.
    """
    if not model.compressed:
        return last(litert.raw(model, x), steps(model, {only(model)[0]: x}))
    try:
        return comparison.outputs(path, x, "tflm")
    except tflm.Unavailable as missing:
        rule = "only TensorFlow Lite Micro runs a file with compressed weights"
        raise StageError(Fault(rule, where=str(path), received=str(missing))) from missing


def _port(tensors: Sequence[tflite.Tensor]) -> Port | None:
    """The only input or output; None when there are several."""
    return _one(tensors[0]) if len(tensors) == 1 else None


def _one(tensor: tflite.Tensor) -> Port:
    return Port(
        name=tensor.name, shape=tensor.shape, dtype=tensor.dtype, scale=tensor.scale, zero_point=tensor.zero_point
    )
