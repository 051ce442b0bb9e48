"""The report on the terminal: the verdict, tables of models and checks, notes, and the path of the report."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pipeline.core import units
from pipeline.report import ladder, matrix, outputs, phrases
from pipeline.report.document import Report
from pipeline.report.terminal import text as _text
from pipeline.report.wrapping import wrapped
from pipeline.stages.ladder.facts import LadderFacts
from pipeline.verify.model_facts import CheckResult

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

_STYLES = {"pass": "green", "fail": "red", "unavailable": "yellow"}
_COLUMNS = ("score", "change", "size", "gzip", "sparsity", "integer", "latency")
_LONGEST_HEAD = 8  # maximum characters of the baseline's name in a column head, so that figures fit 80 columns
_PROMISE, _LIMIT = 34, 19  # maximum width in columns of a promise and its limit
_FIGURES = 72  # width in columns of a row's figures with two spaces between them


def render(report: Report, console: "Console", where: str = "", mistakes: bool = False) -> None:
    """Print the report to the console.

    where: path or address of the report, printed on one line so that it can be clicked or copied.
    mistakes: also print the cost of common app-side input mistakes.
    """
    console.print()
    console.print(_verdict(report, console))
    _show(console, _models(report, console))
    if arena := phrases.arena(report):
        console.print()
        console.print(_text(arena, console))
    for step, found in ladder.ladders(report):
        console.print()
        console.print(_text(f"{step.name}: {found.stopped}", console))
        console.print(_ladder(found, console))
        if skipped := ladder.skipped(found):
            console.print(_text(skipped, console, "dim"))
    _show(console, _answers(report, console), *_checks(report, console), _reasons(report, console))
    _show(console, *((_mistakes(report, console),) if mistakes else ()), _notes(report, console))
    console.print()
    if where:
        console.print(_text(f"Report: {where}", console), soft_wrap=True)


def _show(console: "Console", *tables: "Table") -> None:
    for table in tables:
        if table.row_count:
            console.print()
            console.print(table)


def _verdict(report: Report, console: "Console") -> "Text":
    from rich.text import Text

    state = phrases.state(report)
    verdict = phrases.VERDICTS[state].upper()
    first, *rest = wrapped(f"{verdict}  {phrases.line(phrases.headline(report))}", console.width)
    lines = (_text(line, console, "bold") for line in (first[len(verdict) :], *rest))
    return Text.assemble((verdict, f"bold {_STYLES[state]}"), "  ", Text("\n").join(lines))


def _models(report: Report, console: "Console") -> "Table":
    """One row per model. Figures keep their width; a long name is wrapped."""
    from rich.table import Table

    longest = max((len(model.name) for model in report.models), default=0)
    gap = 2 if console.width >= longest + _FIGURES else 1
    table = Table(box=None, padding=(0, gap, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("model", overflow="fold", min_width=8)
    base = phrases.baseline(report)
    against = f"vs {base}" if len(base) <= _LONGEST_HEAD else "change"
    heads = (phrases.called(phrases.metric(report)), against, "size", "gzip", "sparsity", "integer", "host time")
    for field, head in zip(_COLUMNS, heads, strict=True):
        justify: Literal["left", "right"] = "left" if field == "integer" else "right"
        table.add_column(_text(head, console), justify=justify, no_wrap=True)
    for model in report.models:
        figures = phrases.figures(report, model)
        style = "dim" if model.baseline else ""
        cells = (_text(figures[field].text, console) for field in _COLUMNS)
        table.add_row(_text(model.name, console, "" if style else "bold"), *cells, style=style)
    return table


def _ladder(found: LadderFacts, console: "Console") -> "Table":
    """One row for each rung that was tried. The reasons of rejected rungs are only on the page."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    shown = [place for place, name in enumerate(ladder.HEADS) if name != "drop"]  # the interval shows it
    for place in shown:
        name = ladder.HEADS[place]
        table.add_column(_text(ladder.head(found)[place] if name == "interval" else name, console),
                         justify="left" if place < 2 else "right", overflow="fold")  # fmt: skip
    for row in ladder.rows(found):
        if row.status != "skipped":
            cells = (_text(row.cells[place].text, console) for place in shown)
            table.add_row(*cells, style="bold" if row.status == "met" else "dim")
    return table


def _answers(report: Report, console: "Console") -> "Table":
    """One row for each output and each runtime or baseline that it was compared with (examples without labels)."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for place, head in enumerate(outputs.HEADS):
        table.add_column(head, overflow="fold", justify="left" if place < 2 else "right", no_wrap=place > 1)
    for row in outputs.rows(report):
        table.add_row(*(_text(cell, console) for cell in row.cells))
    return table


def _grid() -> "Table":
    from rich.table import Table

    return Table.grid(padding=(0, 2, 0, 0))


def _checks(report: Report, console: "Console") -> Iterator["Table"]:
    """A row for each promise and a column for each model, in as many tables as the width of the terminal needs."""
    from rich.table import Table

    found = matrix.matrix(report)
    for block in _blocks(found, console.width):
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
        table.add_column("check", overflow="fold", max_width=_PROMISE)
        table.add_column("limit", overflow="fold", max_width=_LIMIT)
        for place in block:
            table.add_column(_text(found.models[place], console), overflow="fold")
        for row in found.rows:
            cells = [row.cells[place] for place in block]
            if any(cells):
                promise, limit = _text(row.promise, console), _text(row.short, console, "dim")
                table.add_row(promise, limit, *(_outcome(cell, console) for cell in cells))
        yield table


def _blocks(found: matrix.Matrix, width: int) -> Iterator[list[int]]:
    """Positions of the models, in groups whose columns fit a terminal `width` columns wide."""
    promise = max((len(row.promise) for row in found.rows), default=0)
    limit = max((len(row.short) for row in found.rows), default=0)
    room = left = width - min(promise, _PROMISE) - min(limit, _LIMIT) - 2  # behind the last column there is no gap
    block: list[int] = []
    for place, name in enumerate(found.models):
        told = (len(_told(row.cells[place])) for row in found.rows)
        wide = max(len(name), *told) + 2
        if block and wide > left:
            yield block
            block, left = [], room
        block.append(place)
        left -= wide
    if block:
        yield block


def _told(check: CheckResult | None) -> str:
    """A result as a mark and the measured value: ``✓ 98.3 %``."""
    if check is None:
        return ""
    return f"{phrases.MARKS[check.status]} {'' if check.value is None else phrases.measured(check)}".strip()


def _outcome(check: CheckResult | None, console: "Console") -> "Text":
    return _text(_told(check), console, _STYLES[check.status] if check else "")


def _reasons(report: Report, console: "Console") -> "Table":
    """One row for each check that is no pass: mark and word, model, check, what was measured, and the reason."""
    table = _grid()
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", max_width=24)
    table.add_column(overflow="fold", max_width=_PROMISE)
    table.add_column(overflow="fold", ratio=1)
    for check in (check for check in report.checks if check.status != "pass"):
        mark = _text(f"{phrases.MARKS[check.status]} {check.status}", console, _STYLES[check.status])
        table.add_row(mark, _text(check.model, console), _text(phrases.promise(check), console), _found(check, console))
    return table


def _found(check: CheckResult, console: "Console") -> "Text":
    """The value and limit, such as ``0.28 points (at most 1.00 points)``, and the reason."""
    from rich.text import Text

    found = [] if check.value is None else [_text(phrases.measured(check), console)]
    if found and check.limit is not None:
        found.append(_text(f"({'must be ' if check.bound == 'is' else ''}{phrases.limit(check)})", console, "dim"))
    lines = [Text(" ").join(found)] if found else []
    if check.why:
        lines.append(_text(check.why, console, _STYLES[check.status] if not found else ""))
    return Text("\n").join(lines)


def _mistakes(report: Report, console: "Console") -> "Table":
    """One row for each common input mistake and each model but the baseline."""
    from rich.table import Table

    models = [model for model in report.models if model.mistakes and not model.baseline]
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    examples = ", ".join(f"{units.whole(model.mistakes[0].examples)} examples" for model in models)
    table.add_column(f"an app's mistake, {examples}", overflow="fold")
    for head in ("accuracy", "points", "flips"):
        table.add_column(head, justify="right", no_wrap=True)
    for row in (row for model in models for row in model.mistakes):
        cells = (row.what, units.percent(row.accuracy), units.points(-row.drop), units.whole(row.flips))
        table.add_row(*(_text(cell, console) for cell in cells))
    return table


def _notes(report: Report, console: "Console") -> "Table":
    from rich.text import Text

    table = _grid()
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    unanswered = {f"{row.cells[1]}: {row.why}": None for row in outputs.rows(report) if row.why}
    unmeasured = [f"{model.name}: not measured: {why}" for model in report.models if (why := outputs.missing(model))]
    of_models = [f"{model.name}: {note}" for model in report.models for note in model.notes]
    of_steps = [f"{step.name}: {note}" for step in report.steps for note in step.notes]
    doubtful = filter(None, [phrases.doubtful(report)])
    for note in (*unanswered, *unmeasured, *doubtful, *of_models, *of_steps):
        lines = wrapped(phrases.line(note), console.width - len("note  "))
        table.add_row(_text("note", console, "yellow"), Text("\n").join(_text(line, console) for line in lines))
    return table
