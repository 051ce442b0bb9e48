"""The signal-to-quantization-noise ratio."""

from math import log10


def sqnr_db(signal: float, noise: float) -> float | None:
    """10 log10(signal / noise) in decibels, from two sums of squares; None when either is zero."""
    return 10 * log10(signal / noise) if signal and noise else None
