"""Cost of common app-side input mistakes, measured by running the .tflite file on wrongly prepared test examples."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import tflite
from pipeline.core import progress
from pipeline.data.contract import Contract
from pipeline.data.source import Data
from pipeline.data.spec import Spec
from pipeline.tflite.values import dequantize, last, only, quantize, steps
from pipeline.verify.interpreters import litert
from pipeline.verify.model_facts import Mistake

# Multiply-accumulates for each mistake: 400 examples of ResNet-8 (12.5 M each, 0.15 ms on XNNPACK), about 0.06 s.
BUDGET = 5 * 10**9
MOST, LEAST = 1000, 32  # examples
WIDE = 31  # int16x8 is 31 times slower, because XNNPACK does not support it

Values = NDArray[Any]  # (n, *shape)
Wrong = tuple[str, str, Values]  # the mistake's name, its description, and the real values it feeds


def sample(model: tflite.Model, examples: int, steps: int | None = None) -> int:
    """Number of examples, or of recordings of so many steps, on which each mistake is tried."""
    cost = max(model.macs * (steps or 1), 1) * (WIDE if model.quantization == "int16x8" else 1)
    return min(examples, MOST, max(LEAST, BUDGET // cost))


def measure(path: Path, data: Data) -> tuple[Mistake, ...]:
    """Measure every mistake that the file and the data allow. Empty for a task without decisions."""
    model, contract, test, spec = tflite.read(path), data.contract(), data.split("test"), data.spec()
    if not spec.task.decides or model.compressed:  # LiteRT can't run compressed weights
        return ()
    (tensor,), runner = model.inputs, litert.Runner(model)
    long = steps(model, {only(model)[0]: test.batch(np.arange(1))[0]})
    count = sample(model, len(test), long)
    progress.step("trying mistakes of apps")
    positions = np.arange(count, dtype=np.int64) * len(test) // count
    x, y = test.batch(positions)
    right = _decisions(last(runner(x), long), spec)
    return tuple(
        _mistake(kind, what, _decisions(last(runner(wrong), long), spec), right, y)
        for kind, what, wrong in _wrong(test.raw(positions), x, contract, tensor)
    )


def _decisions(output: NDArray[np.float32], spec: Spec) -> NDArray[np.int64]:
    return np.asarray(spec.task.decisions(spec.task.rows(output, spec)))


def _mistake(
    kind: str, what: str, decided: NDArray[np.int64], right: NDArray[np.int64], y: NDArray[np.int64]
) -> Mistake:
    accuracy = float(np.mean(decided == y))
    return Mistake.model_validate({
        "mistake": kind, "what": what, "accuracy": accuracy, "drop": float(np.mean(right == y)) - accuracy,
        "flips": int(np.sum(decided != right)), "examples": len(y),
    })  # fmt: skip


def _wrong(raw: Values, x: NDArray[np.float32], contract: Contract, tensor: tflite.Tensor) -> Iterator[Wrong]:
    """Yield each mistake. raw: the examples as the source stores them; x: the same examples after preprocessing."""
    if contract.ids:
        yield from _ids(x, contract.ids)
        return
    if contract.formula != "x":
        yield "not_normalised", f"raw values, where {contract.formula} is expected", raw.astype(np.float32)
    if contract.channels in ("rgb", "bgr"):
        other = "BGR" if contract.channels == "rgb" else "RGB"
        yield "channels_swapped", f"{other}, where {contract.channels.upper()} is expected", x[..., ::-1]
        planes = x.transpose(0, 3, 1, 2).reshape(x.shape)
        yield "planar", "one channel after the other, where NHWC is expected", planes
    if contract.layout == "NHWC":
        yield "turned", "column by column: height and width swapped", x.transpose(0, 2, 1, 3).reshape(x.shape)
    if tensor.dtype in ("INT8", "UINT8", "INT16") and tensor.scale is not None:
        yield from _integers(raw, x, contract, tensor, tensor.scale, tensor.zero_point or 0)


def _ids(x: Values, count: int) -> Iterator[Wrong]:
    """Yield mistakes with ids x (n, ...), of which the file has `count`."""
    if x.max(initial=0) > 255:
        yield "ids_cut", "ids cut to 8 bits, as a cast to uint8 does", x & 255
    yield "ids_shifted", "every id one higher: a vocabulary without the id that is kept for padding", (x + 1) % count
    used = x[(x[:, -1] == 0) & (x[:, 0] != 0)] if x.ndim == 2 else x[:0]
    if len(used):
        turned = np.stack(
            [np.roll(row, len(row) - 1 - int(np.flatnonzero(row)[-1])) if row.any() else row for row in x]
        )
        yield "padded_in_front", "zeros in front of the ids, where they follow them in the data", turned


def _integers(
    raw: Values, x: NDArray[np.float32], contract: Contract, tensor: tflite.Tensor, scale: float, zero_point: int
) -> Iterator[Wrong]:
    """Yield mistakes in a quantized input. Each is given as the real values that quantize to the wrong integers."""
    kind = tensor.dtype.lower()
    limits = np.iinfo(kind)

    def seen(q: Values) -> NDArray[np.float32]:
        return dequantize(np.clip(q, limits.min, limits.max), scale, zero_point)

    yield "not_quantized", f"real values cast to {kind}, without scale and zero point", seen(np.trunc(x))
    down = np.floor(x / np.float32(scale)) + zero_point
    yield "floored", "rounded down, where to the nearest is expected", seen(down)
    if raw.dtype != np.uint8 or kind == "int16":
        return
    if kind == "uint8":
        yield "bytes", f"q = x, a shortcut: {_apart(contract, scale, zero_point, kind, 0)}", seen(raw)
        return
    yield "bytes", "uint8 bytes read as int8", seen(raw.view(np.int8))
    shift = _apart(contract, scale, zero_point, kind, -128)
    yield "minus_128", f"q = x - 128, a shortcut: {shift}", seen(raw.astype(np.int16) - 128)


def _apart(contract: Contract, scale: float, zero_point: int, kind: str, shift: int) -> str:
    """Say how far the shortcut ``q = x + shift`` is from the right q, over all raw values in the contract's range."""
    raw = np.arange(contract.range[0], contract.range[1] + 1)
    x = raw.astype(np.float32) * np.float32(contract.scale) + np.float32(contract.offset)
    most = int(np.abs(quantize(x, scale, zero_point, kind) - (raw + shift)).max())
    return f"up to {most} steps off" if most else "right for this file"
