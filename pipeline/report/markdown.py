"""The report as a short Markdown comment for a pull request (GitHub's and GitLab's dialect)."""

import re
from collections.abc import Iterable, Sequence

from pipeline.core import units
from pipeline.report import certainty, ladder, phrases
from pipeline.report.document import Report, StepFacts
from pipeline.stages.ladder.facts import LadderFacts
from pipeline.verify.model_facts import CheckResult

_MEANING = re.compile(r"([\\`*_\[\]|<>&~$])")
_CALLS = re.compile(r"([@#]|:(?=//))")  # GitHub links @person, #issue and addresses even when they are escaped


def render(report: Report) -> str:
    """The headline, models and checks. Text from the report is escaped: it can't add links, HTML or mentions."""
    mark = {"pass": "✅", "fail": "❌"}.get(phrases.state(report), "⚠️")
    parts = [
        f"### {mark} {_text(report.name)}: {_text(phrases.headline(report))}",
        _models(report),
        _against(report),
        _checks(report),
        *(_ladder(step, found) for step, found in ladder.ladders(report)),
    ]
    noted = [(step.name, step.notes) for step in report.steps] + [(model.name, model.notes) for model in report.models]
    doubtful = phrases.doubtful(report)
    noted.insert(0, ("checks", (doubtful,) if doubtful else ()))
    notes = [f"- {_text(name)}: {_text(note)}" for name, all_of in noted for note in all_of]
    return "\n\n".join(filter(None, [*parts, "\n".join(notes)])) + "\n"


def _models(report: Report) -> str:
    if not report.models:
        return ""
    metric = phrases.metric(report)
    against = f"against {phrases.baseline(report)}" + (", points" if phrases.is_share(metric) else "")
    head = [
        "model",
        phrases.called(metric),
        against,
        "size",
        "gzip",
        "sparsity",
        "integer only",
        "latency (host, not device)",
    ]
    fields = ["score", "change", "size", "gzip", "sparsity", "integer", "latency"]
    if any(model.arena for model in report.models):
        head.append("arena (TFLite Micro)")
        fields.append("arena")
    figures = [(model.name, phrases.figures(report, model)) for model in report.models]
    return _table(head, ([name, *(row[field].text for field in fields)] for name, row in figures), "lrrrrrlrr")


def _against(report: Report) -> str:
    rows = phrases.against(report)
    if not rows:
        return ""
    points = ", points" if phrases.is_share(phrases.metric(report)) else ""
    drop = f"{phrases.worse(report)} against {phrases.baseline(report)}{points}"
    head = ["model", drop, f"{phrases.confidence(report)} interval"]
    if phrases.decides(report):
        head += ["lost", "gained", "McNemar p", "loses most"]
    cells = ([name, *(cell.text for cell in row.values())] for name, row in rows.items())
    return _table(head, cells, "lrrrrrl"[: len(head)])


def _checks(report: Report) -> str:
    """One row per check. There is a column for reasons when a check did not pass."""
    head = ["check", "model", "status", "measured", "limit"]
    if any(check.status != "pass" for check in report.checks):
        head.append("why")
    return _table(head, (_check(check)[: len(head)] for check in report.checks), "lllrrl") if report.checks else ""


def _check(check: CheckResult) -> list[str]:
    why = "" if check.status == "pass" else check.why or units.DASH
    status = f"{phrases.MARKS[check.status]} {check.status}"
    return [
        phrases.promise(check),
        check.model,
        status,
        phrases.measured(check) + certainty.of_check(check),
        phrases.limit(check),
        why,
    ]


def _ladder(step: StepFacts, found: LadderFacts) -> str:
    """One row per rung, with the reason for each rung that was not chosen."""
    rows = ([*(cell.text for cell in row.cells), row.why] for row in ladder.rows(found))
    told = f"{_text(step.name)}: {_text(found.stopped)}. {_text(ladder.judged(found))}"
    return f"{told}\n\n{_table([*ladder.head(found), 'why'], rows, 'llrrrrrrl')}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], align: str) -> str:
    """A Markdown table. align: an l or r for each column, or more."""
    rule = ["---:" if side == "r" else ":---" for side in align[: len(head)]]
    return "\n".join(f"| {' | '.join(row)} |" for row in (list(map(_text, head)), rule, *(map(_text, r) for r in rows)))


def _text(text: str) -> str:
    """Escape text for Markdown, on one line. A zero-width space prevents mentions and links."""
    return _CALLS.sub("\\1\u200b", _MEANING.sub(r"\\\1", phrases.line(text)))
