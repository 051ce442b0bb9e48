"""Check a run folder again: its files, all that can be derived from them and, when asked, every figure by measuring."""

from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from pipeline import __version__, child, derived, runfolder
from pipeline.anyfile import LIMITS
from pipeline.errors import InputError, StageError
from pipeline.facts import Part
from pipeline.report import build, decisions, figures
from pipeline.report.decisions import Decisions
from pipeline.report.document import Report
from pipeline.rerun import Rerun, rerun
from pipeline.runfolder import Folder, Mismatch
from pipeline.store import Store

UNTOLD = "latency, times, learning curves and notes of the steps, environment"
NEEDS_A_RUN = "outputs on other runtimes, errors against Keras, scores such as AUC and log loss, arena, splits' sha256"


class Unchecked(Part):
    """What was not checked, and why."""

    what: str
    why: str


class Recheck(Part):
    """What checking a run folder again found.

    changed     what is another here than where the report was made: (there, here)
    latency_ms  of each model that was measured again: (here, in the report), which are not compared
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


def recheck(path: Path, again: tuple[str | None, Store] | None) -> Recheck:
    """Check a run folder, or the report.json in it; `again` measures too, with (data, or None for the config's; store).

    Raises InputError for a folder that holds no report which can be checked, or whose content breaks what reads it.
    """
    folder = runfolder.load(path)
    try:
        found, unchecked, done = _checked(folder, again)
    except StageError as error:
        raise InputError(*error.faults) from None
    here, there = build.environment(), folder.report.environment
    pairs = {name: (there.get(name, "–"), here.get(name, "–")) for name in (*there, *here)}
    return Recheck(
        report=str(path),
        status="fail" if found else "pass",
        rerun=again is not None,
        models=len(folder.report.models),
        checks=len(folder.report.checks),
        mismatches=tuple(found),
        unchecked=tuple(Unchecked(what=what, why=why) for what, why in unchecked),
        changed={name: pair for name, pair in pairs.items() if pair[0] != pair[1]},
        latency_ms=done.latency,
    )


def _checked(
    folder: Folder, again: tuple[str | None, Store] | None
) -> tuple[list[Mismatch], list[tuple[str, str]], Rerun]:
    found = [*runfolder.file_mismatches(folder), *derived.named_mismatches(folder)]
    unchecked = [(UNTOLD, "nothing in the folder tells them; SHA256SUMS alone covers them")]
    done = Rerun()
    if any(mismatch.what in ("models", "steps") for mismatch in found):
        return found, [*unchecked, ("figures", "the report is not of its config")], done
    fresh = derived.read(folder)
    for name, fields in fresh.items():
        if "error" in fields:
            found.append(Mismatch(file=f"{name}.tflite", what="content", expected="a model", received=fields["error"]))
    kept = _decisions(folder, found)
    wanted = derived.report(folder, fresh, kept)
    found += derived.differences(wanted, folder.report)
    found += _page_mismatches(folder, unchecked)
    if derived.several_verify(folder):
        unchecked.append(("checks", "two verify stages name one model, and the report has the figures of the last"))
    if again is None:
        return found, [*unchecked, (NEEDS_A_RUN, "the files would have to be run: --rerun")], done
    done = rerun(folder, *again)
    measured = {name: {**fresh[name], **fields} for name, fields in done.fresh.items()}
    wanted = derived.report(folder, measured, done.decisions)
    found += [*done.mismatches, *derived.differences(wanted, folder.report)]
    return list(dict.fromkeys(found)), [*unchecked, *done.unmeasured], done


def _decisions(folder: Folder, found: list[Mismatch]) -> Decisions | None:
    """The decisions of the folder when they are usable; what is wrong with them goes to `found`."""
    path = folder.path / decisions.FILE
    if decisions.FILE not in folder.stated:
        if folder.verifies:
            found.append(Mismatch(file="report.json", what="files", expected=decisions.FILE, received="none"))
        return None
    if runfolder.plain_size(path) is None:
        return None
    try:
        kept = decisions.read(path)
    except InputError as error:
        fault = error.faults[0]
        found.append(Mismatch(file=path.name, what="content", expected="decisions", received=fault.received))
        return None
    wrong = list(derived.decision_mismatches(folder, kept, path.name))
    found += wrong
    return None if wrong else kept


def _page_mismatches(folder: Folder, unchecked: list[tuple[str, str]]) -> Iterator[Mismatch]:
    """Pages that do not show the report; what can't be compared goes to `unchecked`."""
    there, skipped = folder.report.environment, set()
    if there.get("edgepipe") != __version__:
        of = there.get("edgepipe", "an unknown version")
        unchecked.append((", ".join(runfolder.PAGES), f"edgepipe {of} wrote them, and this is {__version__}"))
        return
    if any(there.get(name) != version(name) for name in build.PRINTERS):
        skipped = {"report.html"}
        unchecked.append(("report.html", f"it was drawn with other versions of {', '.join(build.PRINTERS)}"))
    (texts,) = child.gather(f"the drawing of {folder.path}", [(_pages, folder.report, not skipped)], LIMITS)
    for name in (name for name in runfolder.PAGES if name not in skipped):
        path = folder.path / name
        if runfolder.plain_size(path) is not None:
            yield from _lines(name, texts[name], runfolder.plain_text(path))


def _pages(send: child.Send, report: Report, draw: bool) -> None:
    """What the child process does."""
    pages = build.pages(report, figures.draw(report) if draw else {})
    send(pages | {"config.yaml": build.config_text(report)})


def _lines(name: str, expected: str, received: str) -> Iterable[Mismatch]:
    """The first line that is another."""
    if expected == received:
        return
    pairs = zip([*expected.splitlines(), ""], [*received.splitlines(), ""], strict=False)
    number, pair = next(((i, pair) for i, pair in enumerate(pairs, start=1) if pair[0] != pair[1]), (0, ("", "")))
    wanted, got = (repr(line.strip()[:60]) for line in pair)
    yield Mismatch(file=name, what=f"line {number}", expected=wanted, received=got)
