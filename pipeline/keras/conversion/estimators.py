"""Which range an activation is rounded in: estimators from the values that it takes on examples. Pure NumPy.

8 bits map a range [low, high] that contains zero onto 255 steps of (high - low) / 255 (Jacob et al.,
https://arxiv.org/abs/1712.05877, section 2.1). A wide range rounds coarsely, a narrow one cuts values off.

::

    minmax          all values: nothing is cut off
    percentile      a share of the values, cut off alike at both ends
    mse             least squared error of rounding and cutting off
    kl              least information lost, by Kullback and Leibler's divergence
    moving_average  exponential average of the least and the greatest value of each batch of examples

Zero is always exact, so the zeros that a ReLU leaves are counted apart and have no say but in the percentiles.
"""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Range = tuple[float, float]
Estimator = Literal["minmax", "percentile", "mse", "kl", "moving_average"]

BINS = 4096  # of a histogram: 16 for each of the steps of the full range
STEPS = 255  # of an 8 bit range
BATCH = 16  # examples, for the moving average
DECAY = 0.9  # of the moving average, a batch at a time: 200 examples are 13 batches
ENOUGH = 10  # values a bin, for kl: of fewer, chance makes more of a divergence than rounding does
CANDIDATES = 128  # ranges, or ends of ranges, that are compared
EPSILON = 1e-4  # probability of a bin that the rounded distribution has empty


class Histogram:
    """The distribution of an activation in BINS equal bins from low to high, in a size that no example changes.

    low, high: the least and the greatest value, widened to contain zero. counts (BINS,) are without the zeros.
    """

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = min(low, 0.0), max(high, 0.0)
        self.counts = np.zeros(BINS, np.int64)
        self.zeros = 0
        self.average: Range | None = None

    def add(self, batch: NDArray[np.float32]) -> None:
        """The values of BATCH examples, or of what is left of them, in any shape."""
        values = np.clip(batch.ravel(), self.low, self.high)
        other = values[values != 0]
        self.zeros += values.size - other.size
        self.counts += np.histogram(other, BINS, (self.low, self.high))[0]
        ends = (float(values.min()), float(values.max()))
        before = self.average or ends
        self.average = _both(DECAY * old + (1 - DECAY) * new for old, new in zip(before, ends, strict=True))

    @property
    def edges(self) -> NDArray[np.float64]:
        """(BINS + 1,)"""
        return np.linspace(self.low, self.high, BINS + 1)

    @property
    def centres(self) -> NDArray[np.float64]:
        """(BINS,)"""
        return (self.edges[:-1] + self.edges[1:]) / 2


def estimate(estimator: Estimator, seen: Histogram, kept: float) -> Range:
    """The range by that estimator: low <= 0 <= high.

    kept: share of the values, for percentile. All of the range where nothing but zeros was seen.
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
    """What holds that share of the values, with half of the others on each side; linear within a bin."""
    below = np.concatenate([[0], np.cumsum(seen.counts)]).astype(np.float64)
    below += seen.zeros * np.clip(np.sign(seen.edges), 0, 1)  # zeros lie below every positive edge
    rest = (1 - kept) / 2 * below[-1]
    return _both(np.interp([rest, below[-1] - rest], below, seen.edges))


def mse(seen: Histogram) -> Range:
    """Least sum of squared errors: those of what is cut off, and step^2 / 12 of every value that is rounded.

    That is the error of a value anywhere within a step, as in Banner et al., https://arxiv.org/abs/1810.05723,
    section 4; least squares as in Nagel et al., https://arxiv.org/abs/2106.08295, section 3.1. Both ends are free.
    """
    lows, highs = (np.linspace(end, 0, CANDIDATES) for end in (seen.low, seen.high))
    inside = seen.counts.sum()
    cut = _cut(-seen.centres, seen.counts, -lows)[:, np.newaxis] + _cut(seen.centres, seen.counts, highs)
    steps = (highs - lows[:, np.newaxis]) / STEPS  # (lows, highs)
    best = np.unravel_index(np.argmin(cut + inside * steps**2 / 12), steps.shape)
    return float(lows[best[0]]), float(highs[best[1]])


def _cut(values: NDArray[np.float64], counts: NDArray[np.int64], ends: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of squared distances (ends,) of the values that lie beyond each of the ends, which are positive or zero."""
    return np.array([np.sum(counts * np.maximum(values - end, 0) ** 2) for end in ends])


def kl(seen: Histogram) -> Range:
    """Least divergence of the rounded distribution from the true one (Migacz, 8-bit Inference with TensorRT, GTC 2017).

    The values are cut off at a threshold on their magnitude: a range is [-t, t] within what was seen. The true
    distribution has what is cut off at its ends; the rounded one has none of it, and in each step spreads what is left
    evenly over the bins that are not empty. Bins are joined until they hold ENOUGH values on average, up to 8 of them;
    nothing is cut off where that is too few.
    """
    joined = next((n for n in (1, 2, 4, 8) if seen.counts.sum() * n >= ENOUGH * BINS), 0)
    if not joined:
        return seen.low, seen.high
    counts, edges = seen.counts.reshape(-1, joined).sum(axis=1), seen.edges[::joined]
    greatest = max(-seen.low, seen.high)
    least = greatest * STEPS / len(counts)  # below, steps are narrower than bins, and rounding can't be seen
    thresholds = np.linspace(least, greatest, CANDIDATES)
    losses = [_divergence(counts, edges, *_within(seen, t)) for t in thresholds]
    return _within(seen, float(thresholds[int(np.argmin(losses))]))


def _within(seen: Histogram, threshold: float) -> Range:
    return max(seen.low, -threshold), min(seen.high, threshold)


def _divergence(counts: NDArray[np.int64], edges: NDArray[np.float64], low: float, high: float) -> float:
    """Kullback and Leibler's divergence of a histogram (bins,) that is cut off and rounded, in nats."""
    first, last = np.searchsorted(edges, [low, high], "left")
    kept = counts[first : max(last, first + 1)].astype(np.float64)
    if not kept.any():
        return np.inf
    true = kept.copy()
    true[0] += counts[:first].sum()
    true[-1] += counts[max(last, first + 1) :].sum()
    step = np.arange(len(kept)) * STEPS // len(kept)  # (bins,) the step that each bin is rounded to
    full = kept > 0
    mean = np.bincount(step, kept) / np.maximum(np.bincount(step, full), 1)
    rounded = np.where(full, mean[step], 0)
    p, q = true / true.sum(), np.maximum(rounded / rounded.sum(), EPSILON / len(kept))
    return float(np.sum(p[p > 0] * np.log(p[p > 0] / q[p > 0])))


def _both(values: Iterator[float] | NDArray[np.float64]) -> Range:
    low, high = values
    return float(low), float(high)
