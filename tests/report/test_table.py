"""The table on a terminal: every figure, and never wider than it."""

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from pipeline.report import table
from pipeline.report.document import Report
from tests.support.reports import checks, failing, printed, runs, sample


@runs
@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_is_never_overrun(make: Callable[[], Report], width: int) -> None:
    text = printed(make(), width)
    assert max(map(len, text.splitlines())) <= width
    assert "\x1b" not in text


def test_the_terminal_shows_every_figure_in_80_columns() -> None:
    text = printed(failing(), 80, "runs/digits/report.html")
    assert "ptq         96.1 %     −2.00  33.3 KiB  30.7 KiB     0.0 %  yes      0.0214 ms" in text
    assert "drop of accuracy             ≤ 1.00 points  ✗ 2.00 points  ✓ 0.28 points" in text
    assert "✗ fail         ptq  drop of accuracy  2.00 points (at most 1.00 points)" in text
    assert "? unavailable  ptq  arena             tflite-micro is not installed" in text
    assert text.endswith("Report: runs/digits/report.html\n")


def test_models_that_do_not_fit_have_a_table_of_their_own() -> None:
    names = ("ptq", "small", "another_one", "one_more")
    text = printed(sample(checks=tuple(each for name in names for each in checks(name))), 80)
    heads = [line.split() for line in text.splitlines() if line.startswith("check ")]
    assert heads == [["check", "limit", "ptq", "small"], ["check", "limit", *names[2:]]]
    assert text.count("drop of accuracy ") == 2


def test_the_path_of_the_report_stays_on_one_line() -> None:
    where = "/a/very/long/path" * 10 + "/report.html"
    assert f"Report: {where}\n" in printed(sample(), 80, where)


def test_colour_is_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[32m✓ 0.28 points" in printed(sample(), force_terminal=True, color_system="standard")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[32m" not in printed(sample(), force_terminal=True, color_system="standard")


def test_an_ascii_terminal_gets_ascii() -> None:
    file = io.BytesIO()
    console = Console(file=io.TextIOWrapper(file, encoding="ascii"), width=80)
    table.render(failing(), console)
    console.file.flush()
    assert b"x fail" in file.getvalue()
    assert b"-2.00" in file.getvalue()
