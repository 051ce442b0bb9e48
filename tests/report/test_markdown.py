"""The report in Markdown."""

import re
from collections.abc import Callable

from pipeline.report import markdown
from pipeline.report.document import Report
from tests.support.reports import failing, runs, sample, unverified


@runs
def test_markdown_keeps_its_tables(make: Callable[[], Report]) -> None:
    text = markdown.render(make())
    for block in text.split("\n\n"):
        bars = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines() if line.startswith("|")}
        assert len(bars) <= 1
    assert "<script>" not in text
    assert "@all" not in text
    assert "\x1b" not in text


def test_markdown_says_what_failed() -> None:
    text = markdown.render(failing())
    assert text.startswith("### ❌ digits: ptq fails 1 of 5 checks")
    assert "| drop of accuracy | ptq | ✗ fail | 2.00 points | at most 1.00 points | – |" in text
    assert "| arena | ptq | ? unavailable | – | at most 32.0 KiB | tflite-micro is not installed |" in text


def test_markdown_compares_with_the_baseline() -> None:
    text = markdown.render(sample())
    assert "| small | 0.28 | −0.82 to 1.68 | 3 | 2 | 0.38 | 8: 3 of 36 lost |" in text


def test_markdown_shows_the_arena_where_it_was_measured() -> None:
    assert "| arena (TFLite Micro) |" in markdown.render(sample())
    assert "arena" not in markdown.render(unverified())
