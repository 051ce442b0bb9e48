"""How the stored values of examples become the real values that a file takes, where the user did not say it."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline import tflite
from pipeline.core.errors import Fault, InputError
from pipeline.data.contract import Contract

FILLS = 0.6  # share of the input's range that real values fill, because it was calibrated on such values
OUTSIDE = 0.2  # share of the values' range that may lie outside of it
LOST = 0.5  # from this share on they are no real values: half of their range could not be stored


class Formula(NamedTuple):
    """``x * scale + offset`` in float32. why: where it comes from, as a sentence; "" for the default."""

    scale: float
    offset: float
    why: str = ""

    def real(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """Return the real values of x, same shape."""
        values: NDArray[np.float32] = x.astype(np.float32) * np.float32(self.scale) + np.float32(self.offset)
        return values

    def ends(self, x: NDArray[Any]) -> tuple[float, float]:
        """Return the smallest and the largest real value of x."""
        low, high = sorted(float(end) * self.scale + self.offset for end in (x.min(), x.max()))
        return low, high


def formula(
    x: NDArray[Any],
    default: Formula,
    tensor: tflite.Tensor,
    carried: Contract | None,
    quantized: bool | None,
    where: str,
) -> Formula:
    """Return how to read the examples x (N, ...) for an input of a file.

    default    the formula for values of this type
    carried    the file's contract: its formula is for raw values of its type, or of its range
    quantized  whether x holds integers as the input stores them; None to find out
    where      name of the examples, for messages

    Raises InputError for integers that are not the input's, and for those that could be either.
    """
    stored = _stored(tensor)
    same = stored is not None and x.dtype.name == tensor.dtype.lower()
    if quantized and (stored is None or not same):
        rule = f"`quantized` is for examples of the type of the input, {_type(tensor)}"
        raise InputError(Fault(rule, where=where, received=x.dtype.name))
    if quantized and stored:
        return stored._replace(why=f"examples are {x.dtype.name} and taken as quantized already, as was said")
    if carried and x.dtype.name == carried.raw_dtype:
        return _of_contract(carried, default)
    if stored and same and quantized is None and _are_stored(x, default, stored, where):
        how = f"taken as quantized already ({stored.scale:.6g} * q{stored.offset:+.6g}), by their type and range"
        return stored._replace(why=f"examples are {x.dtype.name}, as the file's input stores them: {how}")
    if carried and not _alike(default.ends(x), carried.real_range):
        other = _of_contract(carried, default)
        if _alike(other.ends(x), carried.real_range):
            return other
    return default


def _stored(tensor: tflite.Tensor) -> Formula | None:
    """Return how the real values follow from what a quantized input stores; None for one that is not quantized."""
    if tensor.scale is None or tensor.dtype not in ("INT8", "UINT8", "INT16"):
        return None
    return Formula(tensor.scale, -(tensor.zero_point or 0) * tensor.scale)


def _type(tensor: tflite.Tensor) -> str:
    return tensor.dtype.lower() + (", which is not quantized" if _stored(tensor) is None else "")


def _of_contract(carried: Contract, default: Formula) -> Formula:
    if math.isclose(carried.scale, default.scale, rel_tol=1e-6) and carried.offset == default.offset:
        return default
    return Formula(carried.scale, carried.offset, f"real values are {carried.formula}, as the file's contract says")


def _alike(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Return whether two ranges have about the same ends; other examples need not cover the whole range."""
    most = 0.5 * (other[1] - other[0])
    return abs(one[0] - other[0]) <= most and abs(one[1] - other[1]) <= most


def _are_stored(x: NDArray[Any], default: Formula, stored: Formula, where: str) -> bool:
    """Return whether integers of the input's own type are what it stores, and not real values by the default formula.

    The input's range is that of its calibration examples, which real values fill without going far beyond it.
    Raises InputError where that does not tell.
    """
    limits = np.iinfo(x.dtype)
    low, high = (end * stored.scale + stored.offset for end in (limits.min, limits.max))
    (least, most), (other, another) = default.ends(x), stored.ends(x)
    if max(abs(least - other), abs(most - another)) <= stored.scale:
        return False  # both readings are the same
    shared = max(0.0, min(high, most) - max(low, least))
    outside = 1 - shared / (most - least) if most > least else float(not low <= least <= high)
    wide = int(x.max()) - int(x.min()) >= 0.5 * (int(limits.max) - int(limits.min))
    if outside > LOST or (wide and shared / (high - low) < FILLS):
        return True
    if outside <= OUTSIDE and shared / (high - low) >= FILLS:
        return False
    rule = f"{x.dtype.name} examples may be quantized as the file's input, or real values of {low:.4g} to {high:.4g}"
    do = "say which with --quantized or --no-quantized"
    raise InputError(Fault(rule, where=where, received=f"{x.min()} to {x.max()}", do=do))
