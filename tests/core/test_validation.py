"""What a validator says of a setting becomes a fault at its place."""

import pytest

from pipeline.core import validation
from pipeline.core.settings import Settings


class Pair(Settings):
    """Settings whose validators speak of one of them."""

    low: int
    more: dict[str, int]


@pytest.mark.parametrize(
    ("message", "place", "rule", "received"),
    [
        ("low: must be less than high", ("low",), "must be less than high", "3"),
        ("more.x: must be even", ("more", "x"), "must be even", "1"),
        ("high: is no setting of it", (), "high: is no setting of it", ""),
        ("give low or high", (), "give low or high", ""),
    ],
)
def test_what_a_validator_says_of_a_setting_is_told_at_its_place(message, place, rule, received):
    found, words = validation._of_validator(message, (), Pair, {"low": 3, "more": {"x": 1}})
    assert (found, words.rule, words.received) == (place, rule, received)
