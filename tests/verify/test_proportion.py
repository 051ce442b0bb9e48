"""Wilson's interval of a share of examples."""

import pytest
from scipy import stats

from pipeline.verify.scoring.proportion import interval


@pytest.mark.parametrize(("right", "examples"), [(24, 24), (0, 24), (352, 360), (5000, 10_000), (1, 1)])
def test_it_is_that_of_scipy(right: int, examples: int) -> None:
    expected = stats.binomtest(right, examples).proportion_ci(method="wilson")
    assert interval(right / examples, examples) == pytest.approx((expected.low, expected.high))
