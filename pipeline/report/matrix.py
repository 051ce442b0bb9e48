"""The checks as a matrix: a row for each promise, a column for each model."""

from collections.abc import Iterator
from typing import NamedTuple

from pipeline.report import phrases
from pipeline.report.document import Report
from pipeline.verify.model_facts import CheckResult


class Row(NamedTuple):
    """One promise.

    promise  the requirement in words, such as ``drop of accuracy``
    limit    its limit, such as ``at most 1.00 points``; a dash without one
    cells    the result for each model, in the order of the matrix's models; None where a model made no such promise
    """

    promise: str
    limit: str
    cells: tuple[CheckResult | None, ...]

    @property
    def short(self) -> str:
        """The limit with a sign for its bound: ``≤ 1.00 points``."""
        return self.limit.replace("at most ", "≤ ", 1).replace("at least ", "≥ ", 1)


class Matrix(NamedTuple):
    """The models that were checked, in the report's order, and the promises, in the order of the checks."""

    models: tuple[str, ...]
    rows: tuple[Row, ...]

    def blocks(self, most: int) -> "Iterator[Matrix]":
        """Yield the matrix in parts of at most `most` models each."""
        for start in range(0, len(self.models), most):
            part = slice(start, start + most)
            rows = (row._replace(cells=row.cells[part]) for row in self.rows)
            yield Matrix(self.models[part], tuple(row for row in rows if any(row.cells)))


def matrix(report: Report) -> Matrix:
    """The report's checks as a matrix. A promise that a model made twice has two rows."""
    checked = dict.fromkeys(check.model for check in report.checks)
    known = [model.name for model in report.models if model.name in checked]
    models = tuple(dict.fromkeys((*known, *checked)))
    rows: dict[tuple[str, str, str, int], dict[str, CheckResult]] = {}
    for check in report.checks:
        number = 0
        while check.model in rows.setdefault((check.check, phrases.promise(check), phrases.limit(check), number), {}):
            number += 1
        rows[check.check, phrases.promise(check), phrases.limit(check), number][check.model] = check
    return Matrix(
        models,
        tuple(
            Row(promise, limit, tuple(found.get(model) for model in models))
            for (_, promise, limit, _), found in rows.items()
        ),
    )
