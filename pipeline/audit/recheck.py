"""Check a run folder again: its files, everything derived from them and, if asked, every figure by measuring again."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

from pipeline import __version__
from pipeline.audit import derivation, run_folder
from pipeline.audit.model_file import LIMITS
from pipeline.audit.remeasurement import Rerun, rerun
from pipeline.audit.run_folder import Folder, Mismatch
from pipeline.core import processes
from pipeline.core.errors import InputError, StageError
from pipeline.core.progress import tell
from pipeline.core.store import Store
from pipeline.core.versions import installed
from pipeline.report import build, decisions, environment, figures
from pipeline.report.decisions import Decisions
from pipeline.report.document import Report
from pipeline.verify.model_facts import Facts

UNTOLD = (
    "latency, times, date, command and commit, learning curves, ladders, rankings and notes of the steps, environment"
)
NEEDS_A_RUN = "outputs on other runtimes, errors against Keras, scores such as AUC and log loss, arena, splits' sha256"


class Unchecked(Facts):
    """Something that was not checked, and the reason."""

    what: str
    why: str


class Recheck(Facts):
    """Result of checking a run folder again.

    changed     versions and machine properties that differ from those in the report: (in the report, here)
    latency_ms  latency of each model that was measured again: (here, in the report); not compared
    """

    report: str
    status: Literal["pass", "fail"]
    rerun: bool
    models: int
    checks: int
    mismatches: tuple[Mismatch, ...]
    unchecked: tuple[Unchecked, ...]
    changed: dict[str, tuple[str, str]]
    latency_ms: dict[str, tuple[float | None, float | None]]


@dataclass
class Found:
    """Findings so far. unchecked: (what, reason). latency: model -> median in ms, (here, in the report)."""

    mismatches: list[Mismatch]
    unchecked: list[tuple[str, str]] = field(default_factory=list)
    latency: dict[str, tuple[float | None, float | None]] = field(default_factory=dict)

    def add(self, mismatches: Iterable[Mismatch], unchecked: Iterable[tuple[str, str]] = ()) -> None:
        self.mismatches += mismatches
        self.unchecked += unchecked


def recheck(path: Path, again: tuple[str | None, Store] | None) -> Recheck:
    """Check a run folder, given as the folder or as the report.json in it.

    again: (data, store) to measure every figure again, where data None stands for the config's data; None to skip this.
    Raises InputError for a folder without a report that can be checked, and when its content crashes a process.
    """
    folder = run_folder.load(path)
    try:
        found = _checked(folder, again)
    except StageError as error:
        raise InputError(*error.faults) from None
    here, there = environment.environment(), folder.report.environment
    pairs = {name: (there.get(name, "–"), here.get(name, "–")) for name in (*there, *here)}
    return Recheck(
        report=str(path),
        status="fail" if found.mismatches else "pass",
        rerun=again is not None,
        models=len(folder.report.models),
        checks=len(folder.report.checks),
        mismatches=tuple(dict.fromkeys(found.mismatches)),
        unchecked=tuple(Unchecked(what=what, why=why) for what, why in found.unchecked),
        changed={name: pair for name, pair in pairs.items() if pair[0] != pair[1]},
        latency_ms=found.latency,
    )


def _checked(folder: Folder, again: tuple[str | None, Store] | None) -> Found:
    found = Found(list(run_folder.file_mismatches(folder)))
    found.unchecked.append((UNTOLD, "nothing in the folder tells them; SHA256SUMS alone covers them"))
    if named := list(derivation.named_mismatches(folder)):
        found.mismatches += named
        found.unchecked.append(("figures", "the report is not of its config"))
        return found
    done = rerun(folder, *again) if again else Rerun()
    found.latency = done.latency
    found.add(*_apart(folder, _derived, done.fresh, done.decisions))
    found.add(done.mismatches, done.unmeasured)
    if derivation.several_verify(folder):
        found.unchecked.append(("checks", "two verify stages name one model; the report has the last one's figures"))
    if again is None:
        found.unchecked.append((NEEDS_A_RUN, "the files would have to be run: --rerun"))
    return found


def _apart(folder: Folder, function: Callable[..., None], *args: Any) -> Any:
    """Run the function in a separate process with limits, and return what it sends."""
    (sent,) = processes.gather(f"the check of {folder.path}", [(function, folder, *args)], LIMITS, hear=tell)
    return sent


def _derived(send: processes.Send, folder: Folder, measured: derivation.Fresh, decided: Decisions | None) -> None:
    """Send the mismatches of the report and its pages, and what was not checked; called in a child process.

    measured and decided are the results of measuring again. When decided is None, the folder's decisions are used.
    """
    read, found = derivation.read(folder)
    kept, wrong = _decisions(folder)
    fresh = {name: {**fields, **measured.get(name, {})} for name, fields in read.items()}
    unchecked = list(_of_libraries(folder, fresh))
    derived = derivation.report(folder, fresh, decided or kept)
    found += [*wrong, *derivation.differences(derived, folder.report)]
    found += _page_mismatches(folder, derived, unchecked)
    send((found, unchecked))


def _of_libraries(folder: Folder, fresh: Mapping[str, dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Take the fields away that another version of a library gives otherwise, and yield what they are."""
    there, here = folder.report.environment.get("zlib"), environment.environment()["zlib"]
    if there != here:
        for fields in fresh.values():
            fields.pop("gzip_bytes", None)
        yield "gzip_bytes", f"zlib {there} packed the files, and this is {here}"


def _decisions(folder: Folder) -> tuple[Decisions | None, list[Mismatch]]:
    """The folder's decisions, or None when they can't be used, and a list of what is wrong with them."""
    path = folder.path / decisions.FILE
    if decisions.FILE not in folder.stated:
        missing = Mismatch(file="report.json", what="files", expected=decisions.FILE, received="none")
        return None, [missing] if folder.verifies else []
    if run_folder.plain_size(path) is None:
        return None, []  # file_mismatches reports a missing file
    try:
        kept = decisions.read(path)
    except InputError as error:
        received = error.faults[0].received
        return None, [Mismatch(file=path.name, what="content", expected="decisions", received=received)]
    wrong = list(derivation.decision_mismatches(folder, kept, path.name))
    return None if wrong else kept, wrong


def _page_mismatches(folder: Folder, derived: Report, unchecked: list[tuple[str, str]]) -> Iterator[Mismatch]:
    """Yield pages that differ from those made from the derived report. Pages that can't be compared go to `unchecked`.

    A page that shows exactly what report.json says is no finding of its own: what is wrong in report.json is told.
    """
    there, skipped = folder.report.environment, set()
    if there.get("edgepipe") != __version__:
        of = there.get("edgepipe", "an unknown version")
        unchecked.append((", ".join(run_folder.PAGES), f"edgepipe {of} wrote them, and this is {__version__}"))
        return
    if any(there.get(name) != installed(name) for name in environment.PRINTERS):
        skipped = {"report.html"}
        unchecked.append(("report.html", f"it was drawn with other versions of {', '.join(environment.PRINTERS)}"))
    kept = {name: run_folder.plain_text(folder.path / name) for name in _present(folder) if name not in skipped}
    given = _texts(folder.report, "report.html" not in skipped)
    others = [name for name, text in kept.items() if text != given[name]]
    expected = _texts(derived, "report.html" in others) | {"report.json": given["report.json"]} if others else {}
    for name in others:
        yield from _lines(name, expected[name], kept[name])


def _present(folder: Folder) -> Iterator[str]:
    return (name for name in run_folder.PAGES if run_folder.plain_size(folder.path / name) is not None)


def _texts(report: Report, drawn: bool) -> dict[str, str]:
    """The text of each page, by file name; the HTML page without its figures unless it is wanted whole."""
    drawings = figures.draw(report) if drawn else {}
    return build.pages(report, drawings) | {"config.yaml": build.config_text(report)}


def _lines(name: str, expected: str, received: str) -> Iterable[Mismatch]:
    """Yield the first line that differs."""
    pairs = zip_longest(expected.split("\n"), received.split("\n"), fillvalue="")
    for number, (wanted, got) in enumerate(pairs, start=1):
        if wanted != got:
            told, there = map(repr, derivation.pair(wanted, got))
            yield Mismatch(file=name, what=f"line {number}", expected=told, received=there)
            return
