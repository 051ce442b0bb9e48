"""Estimators of the quantization range of an activation, from its values on examples. Pure NumPy.

8 bits map a range [low, high] that contains zero onto 255 steps of (high - low) / 255 (Jacob et al.,
https://arxiv.org/abs/1712.05877, section 2.1). A wide range rounds coarsely, a narrow one clips values.

::

    minmax          range of all values: nothing is clipped
    percentile      range of a share of the values, clipped equally at both ends
    mse             smallest squared error of rounding and clipping
    kl              smallest Kullback-Leibler divergence of the quantized from the true distribution
    moving_average  exponential moving average of the minimum and maximum of each batch of examples

Zero is always exact, so zeros, such as those of a ReLU, are counted separately and affect only the percentiles.
"""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Range = tuple[float, float]
Estimator = Literal["minmax", "percentile", "mse", "kl", "moving_average"]

BINS = 4096  # bins of a histogram: 16 for each step of the full range
STEPS = 255  # steps of an 8-bit range
BATCH = 16  # examples per batch, for the moving average
DECAY = 0.9  # decay of the moving average per batch; 200 examples are 13 batches
ENOUGH = 10  # values per bin that kl needs: with fewer, chance contributes more to the divergence than rounding
CANDIDATES = 128  # number of ranges, or of ends of ranges, that are compared
EPSILON = 1e-4  # lower limit of a bin's probability times the number of bins, which keeps the divergence finite


class Histogram:
    """The distribution of an activation in BINS equal bins from low to high; its size does not grow with examples.

    low, high  smallest and largest value, extended to include zero
    counts     number of values per bin (BINS,), without zeros
    zeros      number of zeros
    average    moving average of the minimum and maximum of each batch; None before the first
    """

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = min(low, 0.0), max(high, 0.0)
        self.counts = np.zeros(BINS, np.int64)
        self.zeros = 0
        self.average: Range | None = None

    def add(self, batch: NDArray[np.float32]) -> None:
        """Add the activation's values for a batch of at most BATCH examples, in any shape."""
        values = np.clip(batch.ravel(), self.low, self.high)
        other = values[values != 0]
        self.zeros += values.size - other.size
        self.counts += np.histogram(other, BINS, (self.low, self.high))[0]
        ends = (float(values.min()), float(values.max()))
        before = self.average or ends
        self.average = _both(DECAY * old + (1 - DECAY) * new for old, new in zip(before, ends, strict=True))

    @property
    def edges(self) -> NDArray[np.float64]:
        """Edges of the bins (BINS + 1,)."""
        return np.linspace(self.low, self.high, BINS + 1)

    @property
    def centres(self) -> NDArray[np.float64]:
        """Centres of the bins (BINS,)."""
        return (self.edges[:-1] + self.edges[1:]) / 2


def estimate(estimator: Estimator, seen: Histogram, kept: float) -> Range:
    """The range by that estimator: low <= 0 <= high; the full range if all values are zero.

    kept: share of the values within the range, for `percentile`.
    """
    if not seen.counts.any():
        return seen.low, seen.high
    found = {
        "minmax": lambda: (seen.low, seen.high),
        "percentile": lambda: percentile(seen, kept),
        "mse": lambda: mse(seen),
        "kl": lambda: kl(seen),
        "moving_average": lambda: seen.average or (seen.low, seen.high),
    }[estimator]()
    return min(found[0], 0.0), max(found[1], 0.0)


def percentile(seen: Histogram, kept: float) -> Range:
    """The range that holds the share `kept` of the values, with half of the rest on each side; linear within a bin."""
    below = np.concatenate([[0], np.cumsum(seen.counts)]).astype(np.float64)
    below += seen.zeros * np.clip(np.sign(seen.edges), 0, 1)  # zeros lie below every positive edge
    rest = (1 - kept) / 2 * below[-1]
    return _both(np.interp([rest, below[-1] - rest], below, seen.edges))


def mse(seen: Histogram) -> Range:
    """The range with the smallest sum of squared errors: those of clipped values, plus step^2 / 12 per rounded value.

    step^2 / 12 is the mean squared error of a value uniformly distributed within a step (Banner et al.,
    https://arxiv.org/abs/1810.05723, section 4). The criterion is that of Nagel et al.,
    https://arxiv.org/abs/2106.08295, section 3.1. Both ends are chosen independently.
    """
    lows, highs = (np.linspace(end, 0, CANDIDATES) for end in (seen.low, seen.high))
    inside = seen.counts.sum()
    cut = _cut(-seen.centres, seen.counts, -lows)[:, np.newaxis] + _cut(seen.centres, seen.counts, highs)
    steps = (highs - lows[:, np.newaxis]) / STEPS  # (lows, highs)
    best = np.unravel_index(np.argmin(cut + inside * steps**2 / 12), steps.shape)
    return float(lows[best[0]]), float(highs[best[1]])


def _cut(values: NDArray[np.float64], counts: NDArray[np.int64], ends: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each end >= 0, the sum of squared distances of the values beyond it: (ends,)."""
    return np.array([np.sum(counts * np.maximum(values - end, 0) ** 2) for end in ends])


def kl(seen: Histogram) -> Range:
    """The range with the smallest divergence of the quantized distribution (Migacz, 8-bit Inference with TensorRT,
    GTC 2017).

    Values are clipped at a threshold t on their magnitude: the range is [-t, t], limited to the observed values. The
    true distribution has clipped values in its outermost bins. The quantized one is without them, and spreads the
    values of each step evenly over its non-empty bins. Bins are joined, up to 8 into one, until they hold ENOUGH values
    on average; if even that is too few, nothing is clipped.
    """
    joined = next((n for n in (1, 2, 4, 8) if seen.counts.sum() * n >= ENOUGH * BINS), 0)
    if not joined:
        return seen.low, seen.high
    counts, edges = seen.counts.reshape(-1, joined).sum(axis=1), seen.edges[::joined]
    greatest = max(-seen.low, seen.high)
    least = greatest * STEPS / len(counts)  # below this, steps are narrower than bins, so rounding has no effect
    thresholds = np.linspace(least, greatest, CANDIDATES)
    losses = [_divergence(counts, edges, *_within(seen, t)) for t in thresholds]
    return _within(seen, float(thresholds[int(np.argmin(losses))]))


def _within(seen: Histogram, threshold: float) -> Range:
    return max(seen.low, -threshold), min(seen.high, threshold)


def _divergence(counts: NDArray[np.int64], edges: NDArray[np.float64], low: float, high: float) -> float:
    """Kullback-Leibler divergence of a clipped and quantized histogram (bins,) from the true one, in nats."""
    first, last = np.searchsorted(edges, [low, high], "left")
    kept = counts[first : max(last, first + 1)].astype(np.float64)
    if not kept.any():
        return np.inf
    true = kept.copy()
    true[0] += counts[:first].sum()
    true[-1] += counts[max(last, first + 1) :].sum()
    step = np.arange(len(kept)) * STEPS // len(kept)  # (bins,) index of the step that each bin is rounded to
    full = kept > 0
    mean = np.bincount(step, kept) / np.maximum(np.bincount(step, full), 1)
    rounded = np.where(full, mean[step], 0)
    p, q = true / true.sum(), np.maximum(rounded / rounded.sum(), EPSILON / len(kept))
    return float(np.sum(p[p > 0] * np.log(p[p > 0] / q[p > 0])))


def _both(values: Iterator[float] | NDArray[np.float64]) -> Range:
    low, high = values
    return float(low), float(high)
