"""Lines end between phrases."""

import pytest

from pipeline.report.wrapping import wrapped


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("fits", 10, ["fits"]),
        ("small has 99.4 % on 359 test examples, 1.1 points over float, 31.8 KiB", 45,
         ["small has 99.4 % on 359 test examples,", "  1.1 points over float, 31.8 KiB"]),
        ("one two 3 points of a phrase that is long", 15, ["one two", "  3 points of a", "  phrase that", "  is long"]),
        ("/a/path/that/is/longer/than/a/line and more", 12, ["/a/path/that/is/longer/than/a/line", "  and more"]),
        ("", 10, [""]),
    ],
)  # fmt: skip
def test_text_is_broken_behind_a_phrase_and_never_before_a_unit(text, width, lines):
    assert wrapped(text, width, "  ") == lines
