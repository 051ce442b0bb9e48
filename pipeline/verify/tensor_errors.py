"""Where a quantized file's error comes from: each tensor on real examples, against the float model's."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import tflite
from pipeline.tflite.values import real
from pipeline.verify.interpreters import litert
from pipeline.verify.model_facts import TensorError
from pipeline.verify.sqnr import sqnr_db

BINS = 48  # of a histogram
WORST = 6  # tensors that get one
TRACED = 32  # examples on which tensors are compared
INTEGER = ("int8", "int8x4", "int16x8", "uint8")  # quantizations whose tensors hold integers
NEAREST = 0.0  # decibels; at 0 the difference is as large as the values themselves
SAME = frozenset({"RESHAPE", "SQUEEZE", "EXPAND_DIMS"})  # ops that write the values they read: no error of their own

Values = NDArray[np.float32]  # (n, ...) real values of a tensor for n examples


def sample(model: tflite.Model, x: Values) -> Values:
    """The examples on which a file's tensors are compared; none for a file whose tensors tell nothing."""
    return x[:TRACED] if model.quantization in INTEGER and not model.compressed else x[:0]


def record(path: Path, x: Values) -> dict[int, NDArray[Any]]:
    """What every op of the first subgraph writes, as it is stored: op index -> (n, ...) for examples x (n, ...)."""
    runner = litert.Runner(tflite.read(path), kernels="builtin", keep=True)
    return runner.record(x)


def layers(path: Path, x: Values) -> dict[str, list[Values]]:
    """The real values of a file's tensors by the names of all Keras layers that are fused into each."""
    model = tflite.read(path)
    written = record(path, x)
    found: dict[str, list[Values]] = {}
    for op in model.subgraphs[0].ops:
        for name in names(model, op) if op.index in written else ():
            found.setdefault(name, []).append(real(written[op.index], op.outputs[0]))
    return found


def errors(
    path: Path, x: Values, reference: Mapping[str, Sequence[Values]], floats: bool = False
) -> tuple[TensorError, ...]:
    """Every tensor that the reference knows, the lowest SQNR first; not those of SAME.

    reference: for each layer of the float model, or of its file, all that it gives (n, ...): an array for each call,
    and those before an activation inside of it. Layers are in running order: of those that are fused into a tensor it
    is the last one's output that the tensor holds. Which of its arrays that is, its name does not tell, so it is the
    one that is nearest to the tensor; a tensor that is near to none (`NEAREST`) holds another quantity, and has no row.
    floats: with the tensors that are not quantized; of a float file of the same model all rows have more than 100 dB.
    """
    model = tflite.read(path)
    order = {name: place for place, name in enumerate(reference)}
    found = []
    for index, raw in record(path, x).items():
        op = model.subgraphs[0].ops[index]
        tensor = op.outputs[0]
        if op.name in SAME or (tensor.dtype == "FLOAT32" and not floats):
            continue
        fitting = {
            name: [each for each in reference[name] if each.shape == raw.shape]
            for name in names(model, op)
            if name in order
        }
        layer = max((name for name, values in fitting.items() if values), key=lambda name: order[name], default="")
        rows = [_error(op, layer, raw, tensor, values) for values in fitting.get(layer, ())]
        nearest = max(rows, key=_decibel, default=None)
        if nearest is not None and _decibel(nearest) > NEAREST:
            found.append(nearest)
    found.sort(key=_decibel)
    worst = {error.index for error in found[:WORST]}
    return tuple(error if error.index in worst else _without_histogram(error) for error in found)


def _decibel(error: TensorError) -> float:
    """The SQNR; infinite where there is no error."""
    if error.sqnr_db is None:
        return np.inf if error.max_abs == 0 else -np.inf
    return error.sqnr_db


def names(model: tflite.Model, op: tflite.Op) -> list[str]:
    """The Keras layers of what an op writes, in running order; an output of the model has its signature's name too."""
    if not op.outputs:
        return []
    tensor = op.outputs[0]
    fused = sorted(tflite.keras_layers(tensor.name), key=lambda name: (-tensor.name.find(name), name))
    return [*fused, *(name for name, output in model.signature.outputs.items() if output is tensor)]


def _error(op: tflite.Op, layer: str, raw: NDArray[Any], tensor: tflite.Tensor, reference: Values) -> TensorError:
    q, f = real(raw, tensor).astype(np.float64), reference.astype(np.float64)
    e = q - f
    noise, signal = float(np.sum(e**2)), float(np.sum(f**2))
    norms = float(np.linalg.norm(q) * np.linalg.norm(f))
    edges = np.histogram_bin_edges(np.concatenate([q.ravel(), f.ravel()]), BINS)
    return TensorError(
        index=op.index,
        op=op.name,
        layer=layer,
        scale=tensor.scale,
        sqnr_db=sqnr_db(signal, noise),
        rmse_over_scale=float(np.sqrt(np.mean(e**2))) / tensor.scale if tensor.scale else None,
        cosine=float(np.sum(q * f)) / norms if norms else 1.0,
        saturated=_saturated(raw),
        mean_abs=float(np.abs(e).mean()),
        max_abs=float(np.abs(e).max()),
        relative=float(np.abs(e).sum() / max(np.abs(f).sum(), 1e-30)),
        power=1 - float(np.sum(q**2)) / signal if signal else 0.0,
        edges=tuple(float(edge) for edge in edges),
        counts=_counts(q, edges),
        float_counts=_counts(f, edges),
    )


def _saturated(raw: NDArray[Any]) -> float | None:
    """Share of integers at either end of their range; what a ReLU clips at the low end counts as well."""
    if raw.dtype.kind not in "iu":
        return None
    limits = np.iinfo(raw.dtype)
    return float(np.mean((raw == limits.min) | (raw == limits.max)))


def _counts(values: NDArray[np.float64], edges: NDArray[np.float64]) -> tuple[int, ...]:
    return tuple(int(count) for count in np.histogram(values, edges)[0])


def _without_histogram(error: TensorError) -> TensorError:
    return error.model_copy(update={"edges": (), "counts": (), "float_counts": ()})
