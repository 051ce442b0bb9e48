"""The rungs of auto stages as rows of text, for the page, Markdown and the terminal."""

from collections.abc import Iterator
from typing import NamedTuple

from pipeline.core import units
from pipeline.report import phrases
from pipeline.report.document import Report, StepFacts
from pipeline.report.phrases import Cell
from pipeline.stages.ladder.facts import LadderFacts, RungFacts

HEADS = ("rung", "outcome", "drop", "interval", "size", "arena", "MACs", "took")


class Row(NamedTuple):
    """One rung. cells: in the order of `HEADS`; why: the reason why it was not chosen."""

    status: str
    cells: tuple[Cell, ...]
    why: str


def ladders(report: Report) -> Iterator[tuple[StepFacts, LadderFacts]]:
    """Yield the steps that have a ladder, with it."""
    yield from ((step, step.ladder) for step in report.steps if step.ladder)


def rows(ladder: LadderFacts) -> list[Row]:
    """One row for each rung that was tried or skipped."""
    return [
        Row(facts.status, tuple(map(_cell, _texts(facts), [facts] * len(HEADS))), facts.why) for facts in ladder.rungs
    ]


def skipped(ladder: LadderFacts) -> str:
    """The skipped rungs on one line, such as ``skipped qat and pqat: ...``; "" when none was skipped."""
    names = [facts.rung for facts in ladder.rungs if facts.status == "skipped"]
    why = next((facts.why for facts in ladder.rungs if facts.status == "skipped"), "")
    return f"skipped {', '.join(names)}: {why}" if names else ""


def head(ladder: LadderFacts) -> tuple[str, ...]:
    """`HEADS` with the names of the metric and the confidence level."""
    metric = phrases.called(ladder.metric)
    change = "rise" if phrases.lower_is_better(ladder.metric) else "drop"
    named = {
        "drop": f"{change} of {metric}",
        "interval": f"{units.number((ladder.each or ladder.confidence) * 100)} % interval",
    }
    return tuple(named.get(each, each) for each in HEADS)


def judged(ladder: LadderFacts) -> str:
    """The examples that the rungs were judged on, as text."""
    base = "" if ladder.score is None else f", where float32 has {phrases.score(ladder.metric, ladder.score)}"
    return f"Judged on {units.whole(ladder.examples)} examples of the validation split{base}."


def _texts(facts: RungFacts) -> tuple[str, ...]:
    paired = phrases.against_row(facts.paired) if facts.paired else {}
    drop, interval = (paired[name].text if paired else units.DASH for name in ("drop", "interval"))
    sizes = (units.size(facts.bytes), units.size(facts.arena), units.count(facts.macs))
    return (facts.rung, facts.status, drop, interval, *sizes, units.seconds(facts.seconds))


def _cell(text: str, facts: RungFacts) -> Cell:
    return Cell(text, f"not measured: {facts.status}" if text == units.DASH else "")
