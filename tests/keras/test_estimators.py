"""The estimators of ranges, on distributions whose best ranges are known."""

import numpy as np
import pytest

from pipeline.keras.conversion.estimators import BINS, Histogram, estimate

ESTIMATORS = ("minmax", "percentile", "mse", "kl", "moving_average")
RANDOM = np.random.default_rng(1)
NORMAL = RANDOM.normal(size=(100, 10000)).astype(np.float32)  # (examples, values)


def seen(batches):
    histogram = Histogram(float(batches.min()), float(batches.max()))
    for batch in batches:
        histogram.add(batch)
    return histogram


def error(values, low, high):
    """Mean squared error of values that are rounded to 255 steps of a range, by doing it."""
    step = (high - low) / 255
    zero = np.round(-low / step)
    return np.mean((np.clip(np.round(values / step) + zero, 0, 255) - zero - values / step) ** 2) * step**2


def test_minmax_cuts_nothing_off():
    assert estimate("minmax", seen(NORMAL), 0.99) == (NORMAL.min(), NORMAL.max())


def test_a_percentile_is_cut_off_alike_at_both_ends():
    assert estimate("percentile", seen(NORMAL), 0.99) == pytest.approx((-2.576, 2.576), rel=0.01)
    relu = seen(np.maximum(NORMAL, 0))
    assert estimate("percentile", relu, 0.99) == pytest.approx((0, 2.576), rel=0.01)  # the zeros are among the values


def test_mse_finds_the_clipping_of_a_normal_distribution():
    low, high = estimate("mse", seen(NORMAL), 0)
    assert (-low, high) == pytest.approx((3.92, 3.92), rel=0.03)  # for 8 bits, arXiv 1810.05723, table 1
    values = RANDOM.laplace(size=(10, 20000)).astype(np.float32)
    found = estimate("mse", seen(values), 0)
    tried = [error(values, low, high) for low in np.linspace(-12, -4, 17) for high in np.linspace(4, 12, 17)]
    assert error(values, *found) <= 1.02 * min(tried)
    assert error(values, *found) < 0.9 * error(values, values.min(), values.max())


def test_kl_cuts_off_an_outlier_and_nothing_of_a_uniform_distribution():
    outlier = np.append(NORMAL[:10], np.full((10, 1), 60), axis=1).astype(np.float32)
    low, high = estimate("kl", seen(outlier), 0)
    assert low == outlier.min()
    assert 3 < high < 12
    uniform = RANDOM.uniform(-1, 1, (10, 20000)).astype(np.float32)
    assert estimate("kl", seen(uniform), 0) == pytest.approx((-1, 1), abs=0.02)


def test_kl_keeps_what_is_too_little_to_tell():
    few = NORMAL[:1, :2000]
    assert estimate("kl", seen(few), 0) == (few.min(), few.max())


def test_a_moving_average_is_of_each_batchs_ends():
    batches = np.array([[-1, 0, 4], [0, 1, 8], [-3, 2, 2]], np.float32)
    low, high = -1.0, 4.0
    for least, greatest in ((0, 8), (-3, 2)):
        low, high = 0.9 * low + 0.1 * least, 0.9 * high + 0.1 * greatest
    assert estimate("moving_average", seen(batches), 0) == pytest.approx((low, high))


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_range_contains_zero_and_lies_within_what_was_seen(estimator):
    for examples in (NORMAL[:2], np.maximum(NORMAL[:2], 0), np.minimum(NORMAL[:2], 0), NORMAL[:2] + 9, NORMAL[:2] - 9):
        low, high = estimate(estimator, seen(examples), 0.999)
        assert min(examples.min(), 0) <= low <= 0 <= high <= max(examples.max(), 0)
        assert high - low > 1
    assert estimate(estimator, seen(np.zeros((2, 9), np.float32)), 0.999) == (0, 0)


def test_memory_does_not_grow_with_examples():
    assert seen(NORMAL).counts.shape == seen(NORMAL[:1]).counts.shape == (BINS,)
