"""The report on the terminal: the verdict, tables of models and checks, notes, and the path of the report."""

from typing import TYPE_CHECKING, Literal

from pipeline.core import units
from pipeline.report import ladder, outputs, phrases
from pipeline.report.document import Report
from pipeline.report.terminal import text as _text
from pipeline.stages.ladder.facts import LadderFacts
from pipeline.verify.model_facts import CheckResult

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

_STYLES = {"pass": "green", "fail": "red", "unavailable": "yellow"}
_COLUMNS = ("score", "change", "size", "gzip", "sparsity", "integer", "latency")
_LONGEST_HEAD = 8  # maximum characters of the baseline's name in a column head, so that figures fit 80 columns
_FIGURES = 72  # width in columns of a row's figures with two spaces between them


def render(report: Report, console: "Console", where: str = "", mistakes: bool = False) -> None:
    """Print the report to the console.

    where: path or address of the report, printed on one line so that it can be clicked or copied.
    mistakes: also print the cost of common app-side input mistakes.
    """
    console.print()
    console.print(_verdict(report, console))
    for part in (_models, _answers, _checks, *((_mistakes,) if mistakes else ()), _notes):
        table = part(report, console)
        if table.row_count:
            console.print()
            console.print(table)
        if part is _models and (arena := phrases.arena(report)):
            console.print()
            console.print(_text(arena, console))
        for step, found in ladder.ladders(report) if part is _models else ():
            console.print()
            console.print(_text(f"{step.name}: {found.stopped}", console))
            console.print(_ladder(found, console))
            if skipped := ladder.skipped(found):
                console.print(_text(skipped, console, "dim"))
    console.print()
    if where:
        console.print(_text(f"Report: {where}", console), soft_wrap=True)


def _verdict(report: Report, console: "Console") -> "Text":
    from rich.text import Text

    state = phrases.state(report)
    verdict = _text(phrases.VERDICTS[state].upper(), console, f"bold {_STYLES[state]}")
    return Text("  ").join([verdict, _text(phrases.headline(report), console, "bold")])


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


def _checks(report: Report, console: "Console") -> "Table":
    """One row per check: mark and word, model, check and measured value, with the reason below unless it passed."""
    table = _grid()
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", max_width=24)
    table.add_column(overflow="fold", max_width=31)
    table.add_column(overflow="fold", ratio=1)
    for check in report.checks:
        mark = _text(f"{phrases.MARKS[check.status]} {check.status}", console, _STYLES[check.status])
        table.add_row(mark, _text(check.model, console), _text(phrases.promise(check), console), _found(check, console))
    return table


def _found(check: CheckResult, console: "Console") -> "Text":
    """The value and limit, such as ``0.28 points (at most 1.00 points)``, and the reason unless the check passed."""
    from rich.text import Text

    found = [] if check.value is None else [_text(phrases.measured(check), console)]
    if found and check.limit is not None:
        found.append(_text(f"({'must be ' if check.bound == 'is' else ''}{phrases.limit(check)})", console, "dim"))
    lines = [Text(" ").join(found)] if found else []
    if check.status != "pass" and check.why:
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
    table = _grid()
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    unanswered = {f"{row.cells[1]}: {row.why}": None for row in outputs.rows(report) if row.why}
    unmeasured = [f"{model.name}: not measured: {why}" for model in report.models if (why := outputs.missing(model))]
    for line in (*unanswered, *unmeasured):
        table.add_row(_text("note", console, "yellow"), _text(line, console))
    for step in report.steps:
        for note in step.notes:
            table.add_row(_text("note", console, "yellow"), _text(f"{step.name}: {note}", console))
    return table
