"""Confidence interval of a share of examples, such as an accuracy. Imports no large library, because reports use it."""

from math import sqrt

_Z = 1.9599639845400545  # of the standard normal distribution, 95 % is this near to the mean


def interval(share: float, examples: int) -> tuple[float, float]:
    """Wilson's score interval of a share of examples with 95 % confidence; both ends are fractions.

    Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference"; Brown, Cai and DasGupta 2001
    recommend it for few examples and for shares near 0 and 1, where the textbook interval has no width.
    """
    middle = (share + _Z**2 / (2 * examples)) / (1 + _Z**2 / examples)
    half = _Z / (1 + _Z**2 / examples) * sqrt(share * (1 - share) / examples + _Z**2 / (4 * examples**2))
    return max(0.0, middle - half), min(1.0, middle + half)
