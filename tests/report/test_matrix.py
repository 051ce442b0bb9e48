"""The checks as a matrix of promises by models."""

from pipeline.report.matrix import matrix
from tests.support.reports import check, failing, sample


def test_a_row_holds_one_promise_for_each_model() -> None:
    found = matrix(failing())
    assert found.models == ("ptq", "small")
    rows = {row.promise: ([cell and cell.status for cell in row.cells], row.limit) for row in found.rows}
    assert rows["drop of accuracy"] == (["fail", "pass"], "at most 1.00 points")
    assert rows["arena"] == (["unavailable", "pass"], "at most 32.0 KiB")
    assert len(found.rows) == 5


def test_other_limits_and_promises_made_twice_have_rows_of_their_own() -> None:
    asked = (("ptq", 9), ("small", 8), ("small", 8))
    found = matrix(sample(checks=tuple(check("size", name, 7, limit, "bytes") for name, limit in asked)))
    cells = [[cell is not None for cell in row.cells] for row in found.rows]
    assert [row.limit for row in found.rows] == ["at most 9 B", "at most 8 B", "at most 8 B"]
    assert cells == [[True, False], [False, True], [False, True]]


def test_a_model_that_is_not_in_the_report_has_a_column_too() -> None:
    assert matrix(sample(checks=(check("size", "gone", 1, 2, "bytes"),))).models == ("gone",)
    assert matrix(sample(checks=())) == ((), ())
