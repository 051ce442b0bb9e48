"""The one formatter of numbers."""

import pytest

from pipeline.core import units


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (units.size(0), "0 B"),
        (units.size(1023), "1023 B"),
        (units.size(1024), "1.0 KiB"),
        (units.size(1024**2 - 1), "1.00 MiB"),
        (units.size(3 * 1024**2), "3.00 MiB"),
        (units.percent(0.9833), "98.3 %"),
        (units.percent(1.0, 0), "100 %"),
        (units.percent(-0.0001), "0.0 %"),
        (units.percent(-0.0123), "−1.2 %"),
        (units.points(0.0028), "+0.28"),
        (units.points(-0.0028), "−0.28"),
        (units.points(-0.00001), "0.00"),
        (units.points(0.0028, sign=False), "0.28"),
        (units.ms(0.1534), "0.153 ms"),
        (units.ms(12.34), "12.3 ms"),
        (units.ms(1234.5), "1234 ms"),
        (units.ms(0), "0 ms"),
        (units.seconds(0.44), "0.4 s"),
        (units.seconds(12.4), "12 s"),
        (units.seconds(59.6), "1 min 00 s"),
        (units.seconds(185), "3 min 05 s"),
        (units.seconds(3720), "1 h 02 min"),
        (units.count(9_999), "9,999"),
        (units.count(264_192), "264.2 k"),
        (units.count(999_960), "1.000 M"),
        (units.count(12_501_632), "12.502 M"),
        (units.whole(12_501_632), "12,501,632"),
        (units.number(0.0123456), "0.01235"),
        (units.change(-0.0213), "−0.0213"),
        (units.measure(0.5, "fraction"), "50.0 %"),
        (units.measure(0.01, "points"), "1.00 points"),
        (units.measure(2048.0, "bytes"), "2.0 KiB"),
        (units.measure(1.5, "ms"), "1.50 ms"),
        (units.measure(7.0, "count"), "7"),
        (units.measure("int8", "text"), "int8"),
        (units.measure(0.25, "text"), "0.25"),
    ],
)
def test_numbers_are_written_as_people_read_them(text, expected):
    assert text == expected


FORMS = [
    units.size, units.percent, units.points, units.ms, units.seconds, units.count, units.whole, units.number,
    units.change, lambda value: units.measure(value, "bytes"),
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_value_that_is_not_there_is_a_dash_and_never_a_zero(form):
    assert form(None) == units.DASH


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "bytes", "–"), ("yes", "text", "yes"), (0.978, "fraction", "97.8 %"), (0.0028, "points", "0.28 points"),
        (-0.0028, "points", "−0.28 points"), (2048, "bytes", "2.0 KiB"), (0.0214, "ms", "0.0214 ms"),
        (3, "count", "3"), (0.12345, "text", "0.1235"),
    ],
)  # fmt: skip
def test_a_check_is_written_in_its_unit(value: float | str | None, unit: str, text: str) -> None:
    assert units.measure(value, unit) == text


@pytest.mark.parametrize(("p", "text"), [(1.0, "1"), (0.0312, "0.031"), (0.00012, "< 0.001"), (None, "–")])
def test_a_p_value_is_written_shortly(p: float | None, text: str) -> None:
    assert units.chance(p) == text
