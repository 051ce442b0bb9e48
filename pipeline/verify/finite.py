"""Outputs that are NaN or infinite: they are no numbers, so nothing is scored by them, and their file fails."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import tflite
from pipeline.core.errors import EdgepipeError
from pipeline.verify import tensor_errors


def broken(output: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which examples (N,) of outputs (N, ...) hold NaN or infinity."""
    return np.asarray(~np.isfinite(output.reshape(len(output), -1)).all(axis=1))


def reason(path: Path, x: NDArray[Any], output: NDArray[Any]) -> str:
    """Return for how many examples x (N, ...) a file gives NaN or infinity, and the first op that does; "" for none."""
    which = broken(output)
    if not which.any():
        return ""
    first = _first(path, x[which][:1])
    return f"gives NaN or infinity for {which.sum()} of {len(output)} examples{', first in ' if first else ''}{first}"


def _first(path: Path, x: NDArray[Any]) -> str:
    """The first op whose result is not finite for examples x (n, ...), with its layer; "" if it can't be found."""
    model = tflite.read(path)
    try:
        written = {} if model.compressed else tensor_errors.record(path, x)
    except EdgepipeError:
        return ""
    for index in sorted(written):
        op = model.subgraphs[0].ops[index]
        if op.outputs and np.issubdtype(written[index].dtype, np.floating) and not np.isfinite(written[index]).all():
            layers = tensor_errors.names(model, op)
            return f"{op.name} of layer {layers[0]!r}" if layers else f"{op.name}, op {index}"
    return ""
