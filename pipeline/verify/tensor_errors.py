"""Quantization error of each tensor: a quantized file against the float model, on real examples."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import tflite
from pipeline.core import progress
from pipeline.tflite.values import real, steps
from pipeline.verify.interpreters import litert
from pipeline.verify.model_facts import TensorError
from pipeline.verify.sqnr import sqnr_db

BINS = 48  # bins of a histogram
WORST = 6  # number of tensors that get a histogram: those with the lowest SQNR
TRACED = 32  # examples on which tensors are compared
INTEGER = ("int8", "int8x4", "int16x8", "uint8")  # quantizations whose tensors hold integers
DOUBTED, CLEARLY = 15.0, 6.0  # decibels: from where a name is doubted, and what another layer must be nearer by
NEAREST = 0.0  # decibels: at 0 the difference is as large as the values themselves
SAME = frozenset({"RESHAPE", "SQUEEZE", "EXPAND_DIMS"})  # ops that only copy values, and so add no error

Values = NDArray[np.float32]  # (n, ...) real values of a tensor for n examples


def sample(model: tflite.Model, x: Values) -> Values:
    """The examples on which the tensors of a file are compared; none for a file that is not quantized to integers."""
    if model.quantization not in INTEGER or model.compressed:
        return x[:0]
    long = steps(model, dict.fromkeys(model.signature.inputs, x)) or 1  # of recordings, each step is an invocation
    return x[: max(1, TRACED // long)]


def record(path: Path, x: Values) -> dict[int, NDArray[Any]]:
    """The stored output of each op of the first subgraph, for examples x (n, ...): op index -> (n, ...)."""
    progress.step("comparing the tensors")
    runner = litert.Runner(tflite.read(path), kernels="builtin", keep=True)
    return runner.record(x)


def layers(path: Path, x: Values) -> dict[str, list[Values]]:
    """Real values of a file's tensors. A tensor appears under the name of each Keras layer fused into it."""
    model = tflite.read(path)
    written = record(path, x)
    found: dict[str, list[Values]] = {}
    for op in model.subgraphs[0].ops:
        for name in names(model, op) if op.index in written else ():
            found.setdefault(name, []).append(real(written[op.index], op.outputs[0]))
    return found


def errors(
    path: Path,
    x: Values,
    reference: Mapping[str, Sequence[Values]],
    floats: bool = False,
    nearest: float = NEAREST,
) -> tuple[TensorError, ...]:
    """Errors of the tensors whose layer is in the reference with the same shape, lowest SQNR first. Skips ops in SAME.

    reference: for each layer of the float model in execution order, all arrays (n, ...) that it computes: one for each
    call, and the values before an activation inside the layer; or `layers` of the float model's file. When several
    layers are fused into a tensor, it holds the output of the last one. Which array that is, a name does not prove: the
    nearest one is compared, and one of any other layer of that shape where that is nearer by far (`CLEARLY`). A tensor
    that is near to none (`nearest`) is left out, and so is a step inside a layer, as the product in a normalisation,
    that is not surely one of the reference (`DOUBTED`).

    floats: include tensors that are not quantized. For a float file of the same model every row is above 100 dB, which
    a test uses to guard the table.

    nearest: decibels that a row has at least; infinitely few where the file is known to be far off
    """
    model = tflite.read(path)
    order = {name: place for place, name in enumerate(reference)}
    found = []
    for index, raw in record(path, x).items():
        op = model.subgraphs[0].ops[index]
        tensor = op.outputs[0]
        if op.name in SAME or (tensor.dtype == "FLOAT32" and not floats):
            continue
        known = [name for name in names(model, op) if any(each.shape == raw.shape for each in reference.get(name, ()))]
        if known:
            named = max(known, key=lambda name: order[name])
            best = _nearest(op, raw, tensor, {named: reference[named]})
            if _decibel(best) < DOUBTED:
                other = _nearest(op, raw, tensor, reference)
                best = other if _decibel(other) > _decibel(best) + CLEARLY else best
            if _decibel(best) > (DOUBTED if _is_step(model, op, named, reference[named]) else nearest):
                found.append(best)
    found.sort(key=_decibel)
    worst = {error.index for error in found[:WORST]}
    return tuple(error if error.index in worst else _without_histogram(error) for error in found)


def _nearest(
    op: tflite.Op, raw: NDArray[Any], tensor: tflite.Tensor, reference: Mapping[str, Sequence[Values]]
) -> TensorError:
    """The row against that array of the reference which is nearest to the tensor; one has its shape."""
    rows = (
        _error(op, layer, raw, tensor, each)
        for layer, arrays in reference.items()
        for each in arrays
        if each.shape == raw.shape
    )
    return max(rows, key=_decibel)


def _is_step(model: tflite.Model, op: tflite.Op, layer: str, arrays: Sequence[Values]) -> bool:
    """Whether only ops of the same layer read the op's output, and the layer has more ops than arrays to compare."""
    ops = [each for each in model.subgraphs[0].ops if each.name not in SAME and layer in names(model, each)]
    readers = [each for each in model.subgraphs[0].ops if op.outputs[0] in each.inputs]
    return len(ops) > len(arrays) and bool(readers) and all(each in ops for each in readers)


def _decibel(error: TensorError) -> float:
    """The SQNR; infinite where there is no error."""
    if error.sqnr_db is None:
        return np.inf if error.max_abs == 0 else -np.inf
    return error.sqnr_db


def names(model: tflite.Model, op: tflite.Op) -> list[str]:
    """Keras layers fused into an op's output; a model output's signature name comes last."""
    public = (name for name, output in model.signature.outputs.items() if op.outputs and output is op.outputs[0])
    return list(dict.fromkeys([*model.layers_of(op), *public]))


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
    """Share of integers at either end of the range of their type, including those that a ReLU clips at the low end."""
    if raw.dtype.kind not in "iu":
        return None
    limits = np.iinfo(raw.dtype)
    return float(np.mean((raw == limits.min) | (raw == limits.max)))


def _counts(values: NDArray[np.float64], edges: NDArray[np.float64]) -> tuple[int, ...]:
    return tuple(int(count) for count in np.histogram(values, edges)[0])


def _without_histogram(error: TensorError) -> TensorError:
    return error.model_copy(update={"edges": (), "counts": (), "float_counts": ()})
