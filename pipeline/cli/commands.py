"""The implementation of each command: load, plan, run and print the result."""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config.config import Config, load, load_as
from pipeline.core import units
from pipeline.core.errors import ConfigError, Fault
from pipeline.core.store import Store
from pipeline.engine import history
from pipeline.engine.plan import plan as make_plan
from pipeline.engine.plan import why_missing
from pipeline.stages.step import Step

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from pipeline.audit.comparison import Comparison
    from pipeline.audit.recheck import Recheck
    from pipeline.verify.targets import Target

CHECK_FAILED = 5


def run(path: Path, overrides: Sequence[str], target: str | None, out: Path, store_root: Path, as_json: bool) -> int:
    """Run a config and print the report. Returns the exit code: 0, or 5 if a check did not pass."""
    from pipeline.cli import progress
    from pipeline.engine.run import run as run_steps
    from pipeline.report import build, origin, table
    from pipeline.report.folder import run_folder

    with progress.choose() as watcher:
        watcher.doing(f"reading {path}")
        config, document = load(path, overrides, target)
        steps = make_plan(config, document)
        store = Store(store_root, _warn)
        with run_folder(out, config.name) as folder:
            outcomes = run_steps(config, document, steps, store, folder / "log.txt", watcher)
            watcher.doing("writing the report")
            build.ship(config, outcomes, folder)
            report = build.build(config, outcomes, folder, origin.origin(path))
            build.write(report, store, folder)
    if as_json:
        print(report.model_dump_json(indent=2))
    else:
        table.render(report, _console(), str(out / config.name / "report.html"))
    return 0 if report.status == "pass" else CHECK_FAILED


def plan(
    path: Path, overrides: Sequence[str], target: str | None, store_root: Path, explain: bool, as_json: bool
) -> None:
    """Print one row for each stage: whether the store has its result and, with `explain`, why it does not."""
    config, document = load(path, overrides, target)
    store, last = Store(store_root, _warn), history.last(store_root, config.name)
    rows = [_plan_row(step, store, last if explain else None) for step in make_plan(config, document)]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    table = _table("stage", "reads", "store", "key", *(["why"] if explain else []))
    for row in rows:
        hit = "[green]hit[/]" if row["hit"] else "[yellow]miss[/]"
        why = [row["why"]] if explain else []
        table.add_row(row["name"], ", ".join(row["reads"]) or units.DASH, hit, row["key"][:12], *why)
    _console().print(table)


def _plan_row(step: Step, store: Store, last: Mapping[str, str] | None) -> dict[str, Any]:
    """A row of the plan; with the reason of a miss, if `last` is given: see `why_missing`."""
    hit = store.get(step.key) is not None
    row = {
        "name": step.name,
        "stage": step.stage.kind,
        "reads": [need.name for need in step.needs],
        "key": step.key,
        "hit": hit,
    }
    return row if last is None else row | {"why": "" if hit else why_missing(step, store, last)}


def inspect(path: Path, as_json: bool) -> None:
    """Print the contents of a .tflite file or of a Keras model file."""
    from pipeline.audit import inspection
    from pipeline.core import model_format

    if model_format.is_keras(path):
        from pipeline.audit import network_file
        from pipeline.report import network_description

        facts, render = network_file.inspect(path), network_description.render
    else:
        from pipeline.report import description

        facts, render = inspection.inspect(path), description.render
    if as_json:
        print(json.dumps(facts, indent=2))
    else:
        render(facts, _console())


def targets(name: str | None, as_json: bool) -> None:
    """Print the list of built-in targets, or the memory, the required checks and the sources of one target."""
    from pipeline.verify import targets

    found = [targets.load(name) for name in ([name] if name else targets.names())]
    if as_json:
        settings = [target.settings() for target in found]
        print(json.dumps(settings[0] if name else settings, indent=2))
    elif name:
        _console().print(_target(found[0]))
    else:
        table = _table("target", "flash", "RAM", "")
        for target in found:
            table.add_row(target.name, units.size(target.flash_bytes), units.size(target.ram_bytes), target.title)
        _console().print(table)


def _target(target: "Target") -> "Table":
    from rich.markup import escape

    grid = _table("", "")
    grid.show_header = False
    rows = (
        ("target", f"{target.name}: {target.title}"),
        ("runtime", target.runtime),
        ("flash", units.size(target.flash_bytes)),
        ("RAM", units.size(target.ram_bytes)),
        *(("check", _promise(check.settings())) for check in target.checks()),
        *(("source", source) for source in target.evidence()),
    )
    for name, text in rows:
        grid.add_row(f"[dim]{name}[/]", escape(text))
    return grid


def _promise(settings: dict[str, Any]) -> str:
    """Return a check as text such as ``size: max_bytes 1.0 MiB``, with the settings that are not None."""
    said = (f"{key} {_value(key, value)}" for key, value in settings.items() if key != "check" and value is not None)
    return f"{settings['check']}: {', '.join(said)}".removesuffix(": ")


def _value(key: str, value: Any) -> str:
    if isinstance(value, dict):
        return f"{len(value)} ops"
    if isinstance(value, list):
        return " or ".join(map(str, value))
    return (
        units.size(value) if key.endswith("_bytes") else str(value).lower() if isinstance(value, bool) else str(value)
    )


def verify(
    model: Path, data: str | None, baseline: Path | None, checks: Path | None, target: str | None, out: Path | None,
    as_json: bool, quantized: bool | None = None,
) -> int:  # fmt: skip
    """Measure and check any file and print the report. Returns the exit code: 0, or 5 if a check did not pass."""
    from pipeline.audit import examples, model_file
    from pipeline.cli import progress
    from pipeline.report import build, figures, table
    from pipeline.report.folder import run_folder
    from pipeline.verify import targets

    promises = load_as(model_file.Promises, checks) if checks else model_file.Promises()
    if target is not None:
        promises = promises.model_copy(update={"target": targets.load(target)})
    with progress.doing(f"measuring {model.name}"):
        report = model_file.verify(model, examples.load(data, quantized) if data else None, baseline, promises)
        if out is not None:
            with run_folder(out.parent, out.name) as folder:
                build.write_pages(report, folder, figures.draw(report))
    if as_json:
        print(report.model_dump_json(indent=2))
    else:
        table.render(report, _console(), str(out / "report.html") if out else "", mistakes=True)
    return 0 if report.status == "pass" else CHECK_FAILED


def check_verify(given: set[str]) -> None:
    """Raise ConfigError for arguments of `verify` that can't be combined. given: names of those on the command line."""
    faults = []
    if "report" not in given:
        if "model" not in given:
            faults.append(Fault("needs a file", where="verify", do="name MODEL.tflite, or a run with --report FILE"))
        for name in sorted(given & {"rerun", "store"}):
            faults.append(Fault("is for a run folder", where=f"--{name}", do="name its report.json with --report FILE"))
    else:
        for name in sorted(given & {"model", "baseline", "checks", "target", "out", "quantized"}):
            where = "MODEL.tflite" if name == "model" else f"--{name}"
            faults.append(Fault("is not for a run folder", where=where, do="leave it or --report out"))
        for name in sorted(given & {"data", "store"} if "rerun" not in given else ()):
            faults.append(Fault("is for measuring again", where=f"--{name}", do="add --rerun"))
    if faults:
        raise ConfigError(*faults)


def recheck(report: Path, data: str | None, rerun: bool, store_root: Path, as_json: bool) -> int:
    """Check a run folder again and print the mismatches. Returns the exit code: 0, or 5 if there are any."""
    from pipeline.audit import recheck as rechecking
    from pipeline.cli import progress

    with progress.doing(f"checking {report}"):
        found = rechecking.recheck(report, (data, Store(store_root, _warn)) if rerun else None)
    if as_json:
        print(found.model_dump_json(indent=2))
    else:
        _print_recheck(found)
    return 0 if found.status == "pass" else CHECK_FAILED


def _print_recheck(found: "Recheck") -> None:
    from rich.markup import escape

    from pipeline.report import phrases

    count = len(found.mismatches)
    good = f"{found.models} models, {found.checks} checks judged again{', all figures measured again' * found.rerun}"
    said = f"{count} finding{'s' * (count > 1)}" if count else good
    verdict = "[red]FAIL[/]" if count else "[green]PASS[/]"
    lines = [(verdict, f"{found.report}: {said}")]
    for each in found.mismatches:
        told = f"{each.file}: {each.what}: expected {each.expected}, found {each.received}"
        lines.append(("[red]✗ fail[/]", told))
    for name, (there, here) in found.changed.items() if count else ():
        lines.append(("[yellow]changed[/]", f"{name}: {there} in the report, {here} here; figures may depend on it"))
    for name, (now, then) in found.latency_ms.items():
        lines.append(("[dim]latency[/]", f"{name}: {units.ms(now)} here, {units.ms(then)} in the report; not compared"))
    lines += [("[dim]not checked[/]", f"{skipped.what}: {skipped.why}") for skipped in found.unchecked]
    console = _console()
    for mark, text in lines:
        console.print(f"{mark}  {escape(phrases.line(text))}", soft_wrap=True)


def compare(a: Path, b: Path, fail_on: Sequence[str], as_json: bool) -> int:
    """Print the differences from run A to run B. Returns the exit code: 0, or 5 if a limit is exceeded."""
    from pipeline.audit import comparison

    limits = comparison.parse_limits(fail_on)
    found = comparison.compare(a, b)
    broken = list(comparison.exceeded(found, limits))
    if as_json:
        print(comparison.as_json(found, broken))
    else:
        _print_comparison(found, broken)
    return CHECK_FAILED if broken else 0


def _print_comparison(found: "Comparison", broken: Sequence[str]) -> None:
    from rich.markup import escape

    from pipeline.report import phrases

    console = _console()
    for line in found.apart:
        console.print(f"[yellow]note[/]  {escape(line)}")
    metric = found.models[0].metric
    table = _table("model", metric, "flips", "size", "gzip", "MACs", "arena")
    for row in found.models:
        flips = units.DASH if row.flips is None else f"{row.flips} of {row.examples}"
        table.add_row(
            escape(row.model),
            _change(row.score, lambda value: phrases.score(metric, value)),
            flips,
            _change(row.bytes, units.size),
            _change(row.gzip, units.size),
            _change(row.macs, units.count),
            _change(row.arena, units.size),
        )
    console.print(table)
    for name in found.lost:
        console.print(f"[bold]{escape(name)}[/]  is in run A only")
    for name in found.new:
        console.print(f"[bold]{escape(name)}[/]  is in run B only")
    for row in found.models:
        ops = [f"{name} {count:+d}" for name, count in row.ops.items()]
        lines = [
            *(f"ops: {', '.join(ops)}" for _ in ops[:1]),
            *row.layers,
            *(f"no longer passes: {c}" for c in row.checks),
        ]
        for line in lines:
            console.print(f"[bold]{escape(row.model)}[/]  {escape(line)}")
        if row.same_bytes:
            console.print(f"[bold]{escape(row.model)}[/]  the same bytes")
    for line in broken:
        console.print(f"[red]✗ fail[/]  {escape(line)}")


def _change(pair: tuple[Any, Any], said: Callable[[Any], str]) -> str:
    """Return a pair as ``98.3 % -> 97.9 %``, or as one value if both look the same."""
    before, after = map(said, pair)
    return before if before == after else f"{before} -> {after}"


def export(path: Path, name: str, overrides: Sequence[str], out: Path, as_json: bool) -> None:
    """Write the files of a format into a folder, and print their names."""
    from pipeline.engine import export as exporting

    written = exporting.export(path, exporting.chosen(name, overrides), out)
    if as_json:
        print(json.dumps({str(file): size for file, size in written.items()}, indent=2))
        return
    for file, size in written.items():
        print(f"wrote {file}, {units.size(size)}")


def schema() -> None:
    """Print the JSON Schema of a config file."""
    facts = Config.model_json_schema(by_alias=True)
    print(json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **facts}, indent=2))


def init(path: Path, name: str | None = None, data: str | None = None, target: str | None = None) -> None:
    """Write the starter config. Raises ConfigError if the file exists or can't be written, or for wrong arguments."""
    from pipeline.config.starter import starter

    text = starter(path.parent, name, data, target)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(Fault("is there already", where=str(path), do="name another file")) from None
    except OSError as error:
        raise ConfigError(Fault("can't be written", where=str(path), received=error.strerror or "")) from None
    print(f"wrote {path}; next: edgepipe run {path}")


def cache_list(store_root: Path, as_json: bool) -> None:
    """Print the entries of the store, newest first."""
    entries = list(Store(store_root, _warn).entries())
    if as_json:
        rows = [
            {"key": e.key, "stage": e.stage, "bytes": e.bytes, "created": e.created, "seconds": e.seconds}
            for e in entries
        ]
        print(json.dumps(rows, indent=2))
        return
    table = _table("stage", "size", "made", "took", "key")
    for entry in entries:
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.created))
        table.add_row(entry.stage, units.size(entry.bytes), made, units.seconds(entry.seconds), entry.key[:12])
    console = _console()
    console.print(table)
    console.print(
        f"{len(entries)} entries, {units.size(sum(e.bytes for e in entries))} in {store_root}", highlight=False
    )


def cache_clear(store_root: Path, older_than_days: float) -> None:
    """Remove entries older than a number of days (0: all) and print how many."""
    count, size = Store(store_root, _warn).clear(older_than_days * 86400)
    print(f"removed {count} entries, {units.size(size)}")


def _table(*heads: str) -> "Table":
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for head in heads:
        table.add_column(head, overflow="fold")
    return table


def _console() -> "Console":
    from rich.console import Console

    return Console(highlight=False, emoji=False)


def _warn(line: str) -> None:
    print(f"warning: {line}", file=sys.stderr)
