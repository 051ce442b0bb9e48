"""Paired comparisons against scipy and figures worked out by hand."""

import numpy as np
import pytest
from scipy import stats

from pipeline.verify.scoring import statistics


@pytest.mark.parametrize(
    ("lost", "gained"), [(0, 0), (1, 0), (0, 5), (3, 3), (10, 2), (25, 60), (400, 330), (5000, 5300)]
)
def test_mcnemar_is_the_exact_binomial(lost, gained):
    exact = stats.binomtest(lost, lost + gained).pvalue if lost + gained else 1.0
    assert statistics.mcnemar(lost, gained) == pytest.approx(exact, rel=1e-9)
    by_statsmodels = min(1.0, 2 * stats.binom.cdf(min(lost, gained), lost + gained, 0.5))
    assert statistics.mcnemar(lost, gained) == pytest.approx(by_statsmodels, rel=1e-9)


def test_paired_by_hand():
    base = np.array([1, 1, 1, 1, 0, 0, 1, 1], bool)
    this = np.array([0, 0, 1, 1, 1, 0, 0, 1], bool)
    y = np.array([0, 0, 0, 0, 0, 1, 1, 2])
    found = statistics.paired(base, this, y, ["a", "b"])
    assert (found.n, found.lost, found.gained, found.drop, found.confidence) == (8, 3, 1, 0.25, 0.95)
    assert found.mcnemar_p == pytest.approx(2 * 5 / 16)
    assert found.low <= found.drop <= found.high
    worst = found.worst
    assert worst is not None
    assert (worst.label, worst.examples, worst.lost, worst.gained, worst.drop) == ("b", 2, 1, 0, 0.5)


def test_equal_models_lose_nothing_but_are_not_known_to_be_equal():
    right = np.ones(200, bool)
    found = statistics.paired(right, right, np.zeros(200, np.int64))
    assert (found.lost, found.gained, found.mcnemar_p, found.drop, found.worst) == (0, 0, 1.0, 0.0, None)
    assert found.low < 0 < found.high < 0.02  # the rule of three allows up to 3/200


def test_the_interval_is_a_function_of_its_seed():
    assert statistics.interval(359, 5, 2) == statistics.interval(359, 5, 2, seed=0)
    assert statistics.interval(359, 5, 2, 0.8) < statistics.interval(359, 5, 2, 0.5)
    low, high = statistics.interval(2000, 100, 40)
    spread = (140 - 60**2 / 2000) ** 0.5 / 2000  # of a paired difference, Wald
    assert (low, high) == pytest.approx((0.03 - 1.96 * spread, 0.03 + 1.96 * spread), abs=0.001)


@pytest.mark.parametrize("confidence", [0.8, 0.95])
@pytest.mark.parametrize(
    ("n", "lost", "gained"),
    [(50, 0.01, 0.0), (50, 0.1, 0.02), (200, 0.02, 0.01), (359, 0.02, 0.0), (1000, 0.05, 0.05), (5000, 0.01, 0.005)],
)
def test_the_interval_covers_the_true_drop_as_often_as_it_says(n, lost, gained, confidence):
    seen, counts = np.unique(
        np.random.default_rng(3).multinomial(n, [lost, gained, 1 - lost - gained], 3000), axis=0, return_counts=True
    )
    counts, seen = counts[most := np.argsort(-counts)[:150]], seen[most]
    ends = np.array([statistics.interval(n, *row[:2], confidence) for row in seen])
    true = lost - gained
    below, above = (counts[side].sum() / counts.sum() for side in (ends[:, 1] < true, ends[:, 0] > true))
    assert 1 - below - above > confidence - 0.01
    assert max(below, above) < 1.4 * (1 - confidence) / 2


@pytest.mark.parametrize(
    ("drop", "limit", "needed"), [(0.0, 0.01, 1500), (0.005, 0.01, 2400), (0.02, 0.01, 2400), (0.01, 0.01, None)]
)
def test_examples_needed_grow_with_the_square(drop, limit, needed):
    reach = {0.0: 0.02, 0.005: 0.0125, 0.02: 0.025}.get(drop, 0.02)  # half the interval's width
    assert statistics.examples_needed(375, drop, drop - reach, drop + reach, limit) == needed


def test_so_many_examples_do_decide():
    """The estimate, tried: with that many examples and the same shares the interval ends near the limit."""
    n, lost, gained, limit = 359, 5, 3, 0.012
    low, high = statistics.interval(n, lost, gained)
    needed = statistics.examples_needed(n, (lost - gained) / n, low, high, limit)
    assert needed is not None
    assert low <= limit < high
    _, high = statistics.interval(needed, round(lost * needed / n), round(gained * needed / n))
    assert high == pytest.approx(limit, abs=0.0015)
