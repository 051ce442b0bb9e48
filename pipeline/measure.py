"""The facts of a .tflite file: what its bytes say, and what it does on examples. Never imports TensorFlow."""

import gzip
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import litert, metrics, runtimes, tflite, tflm
from pipeline.errors import Fault, StageError
from pipeline.facts import Latency, LayerFacts, ModelFacts, Port
from pipeline.tflite import demands, int8
from pipeline.tflite.values import real

Decisions = NDArray[np.int64]  # (N,)


def read(name: str, path: Path) -> ModelFacts:
    """What the bytes say, with nothing run. InputError when the file is none."""
    model = tflite.read(path)
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
        rules=int8.findings(model),
        ops=model.ops_count(),
        op_versions=demands.op_versions(model),
        op_dtypes=demands.op_dtypes(model),
        dynamic=demands.dynamic(model),
        macs=model.macs,
        parameters=model.parameters,
        input=_port(model.inputs),
        output=_port(model.outputs),
        sparsity=model.sparsity(),
        unique_values=model.unique_values(),
        layers=tuple(LayerFacts(**asdict(layer)) for layer in model.layers()),
    )


def run(
    facts: ModelFacts, path: Path, x: NDArray[np.float32], y: NDArray[np.int64], labels: Sequence[str], split: str
) -> tuple[ModelFacts, NDArray[np.float32]]:
    """The facts with what the file does on examples x (N, ...) with labels y (N,), and its outputs (N, labels).

    split is the sha256 of those examples, which the figures are bound to.
    """
    model = tflite.read(path)
    output = _outputs(model, path, x)
    found = metrics.classification(output, y, labels, facts.output.scale if facts.output else None)
    measured = {
        "examples": len(y),
        "split_sha256": split,
        "scores": found.scores,
        "metrics": found.metrics,
        "missing": found.missing,
        "per_class": found.per_class,
        "confusion": found.confusion,
        "latency_ms": None if model.compressed else Latency(**litert.latency(path, x[:1])._asdict()),
        "runtimes": runtimes.compare(path, x, y),
    }
    return facts.model_copy(update=measured), output


def _outputs(model: tflite.Model, path: Path, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Real outputs (N, ...) on the runtime that counts for this file. StageError when it is not there."""
    if not model.compressed:
        return litert.run(path, x)
    (tensor,) = model.signature.outputs.values()
    try:
        return real(runtimes.outputs(path, x, "tflm"), tensor)
    except tflm.Unavailable as missing:
        rule = "only TensorFlow Lite Micro runs a file with compressed weights"
        raise StageError(Fault(rule, where=str(path), received=str(missing))) from missing


def against(
    facts: ModelFacts, base: ModelFacts, right: NDArray[np.bool_], base_right: NDArray[np.bool_], y: Decisions
) -> ModelFacts:
    """The facts with the drop of each metric below the baseline's, and the comparison example by example.

    right and base_right (N,) tell where each is right of the examples with labels y (N,).
    """
    drop = {key: base.metrics[key] - value for key, value in facts.metrics.items() if key in base.metrics}
    paired = metrics.paired(base_right, right, y, [each.label for each in base.per_class])
    return facts.model_copy(update={"drop": drop, "paired": paired})


def _port(tensors: Sequence[tflite.Tensor]) -> Port | None:
    """The one input or output; None when there are several."""
    if len(tensors) != 1:
        return None
    (tensor,) = tensors
    return Port(
        name=tensor.name, shape=tensor.shape, dtype=tensor.dtype, scale=tensor.scale, zero_point=tensor.zero_point
    )
