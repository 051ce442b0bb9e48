"""Outcomes of a run -> the report, and the run folder that holds it beside the files it speaks of."""

import gzip
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pipeline import __version__, code
from pipeline.config import Config
from pipeline.errors import Fault, StoreError
from pipeline.facts import CheckResult, ModelFacts
from pipeline.report import figures, junit, markdown, page
from pipeline.report.document import DECISIONS, DataFacts, Report, Split, StepFacts
from pipeline.run import Outcome
from pipeline.stage import SPLITS
from pipeline.stages.verify import Verify
from pipeline.store import Store, key_of, sha256

LIBRARIES = (
    "tensorflow", "tf_keras", "tensorflow-model-optimization", "ai-edge-litert", "tflite-micro", "numpy",
    "scikit-learn", "pydantic",
)  # fmt: skip


def build(config: Config, outcomes: Sequence[Outcome]) -> Report:
    """The report of a finished run."""
    measured, checks = _verified(outcomes)
    spec = config.data.spec()
    return Report(
        name=config.name,
        status="fail" if any(check.status != "pass" for check in checks) else "pass",
        environment=environment(),
        config=config.settings(),
        data=DataFacts(
            fingerprint=config.data.fingerprint(),
            task=spec.task.name,
            labels=spec.labels,
            splits={name: _split(config, name) for name in SPLITS},
        ),
        steps=tuple(_step(outcome) for outcome in outcomes),
        models=tuple(
            measured.get(outcome.step.name) or _unverified(outcome) for outcome in outcomes if _is_model(outcome)
        ),
        checks=checks,
    )


def _verified(outcomes: Sequence[Outcome]) -> tuple[dict[str, ModelFacts], tuple[CheckResult, ...]]:
    """Measurements by model name, and all results of checks."""
    models: dict[str, ModelFacts] = {}
    checks: list[CheckResult] = []
    for outcome in outcomes:
        stage = outcome.step.stage
        if isinstance(stage, Verify):
            models |= {facts.name: facts for facts in stage.measured(outcome.entry.path)}
            checks += stage.judge(outcome.entry.path)
    return models, tuple(checks)


def _is_model(outcome: Outcome) -> bool:
    return outcome.step.stage.gives == "tflite"


def _unverified(outcome: Outcome) -> ModelFacts:
    """What can be said of a file that no verify stage names."""
    path = outcome.entry.path / "model.tflite"
    content = path.read_bytes()
    return ModelFacts(
        name=outcome.step.name,
        file=f"{outcome.step.name}.tflite",
        sha256=sha256(path),
        bytes=len(content),
        gzip_bytes=len(gzip.compress(content, 9, mtime=0)),
        verified=False,
    )


def _step(outcome: Outcome) -> StepFacts:
    step, entry = outcome.step, outcome.entry
    path = entry.path / "facts.json"
    facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return StepFacts(
        name=step.name,
        stage=step.kind,
        key=step.key,
        cached=outcome.cached,
        seconds=entry.seconds,
        settings=step.stage.settings(),
        curves={name: tuple(values) for name, values in facts.get("curves", {}).items()},
        layers=tuple(facts.get("layers", ())),
        notes=tuple(facts.get("notes", ())),
    )


def _split(config: Config, name: str) -> Split:
    examples = config.data.split(name)
    return Split(examples=len(examples), sha256=examples.sha256)


def environment() -> dict[str, str]:
    """Versions of what decides the figures, and the machine."""
    found = {"edgepipe": __version__, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name.replace("-", "_")] = version(name)
        except PackageNotFoundError:
            found[name.replace("-", "_")] = "not installed"
    return found | {"machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"}


@contextmanager
def folder(out: Path, name: str) -> Iterator[Path]:
    """A private folder that becomes ``out/name`` when the block ends well, in place of an earlier one.

    When it does not, nothing of ``out/name`` has changed and the log stays as ``out/name.failed.log``.
    """
    with _guard(out):
        out.mkdir(parents=True, exist_ok=True)
        _remove_stale(out, name)
        work = Path(tempfile.mkdtemp(prefix=f".{name}-{os.getpid()}-", dir=out))
    failed = out / f"{name}.failed.log"
    try:
        yield work
        with _guard(out):
            work.chmod(0o777 & ~_umask())  # mkdtemp's own mode is for the owner alone
            _swap(work, out / name)
            failed.unlink(missing_ok=True)
    except BaseException:
        log = work / "log.txt"
        if log.is_file() and log.stat().st_size:
            log.replace(failed)
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _remove_stale(out: Path, name: str) -> None:
    """Remove private folders of runs that were killed: those whose process is gone."""
    for path in out.glob(f".{name}-*-*"):
        process = path.name.removeprefix(f".{name}-").partition("-")[0]
        if process.isdecimal() and not _alive(int(process)):
            shutil.rmtree(path, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # of another user, or no number of a process
        return True
    return True


def write(report: Report, outcomes: Sequence[Outcome], store: Store, work: Path) -> None:
    """Fill the run folder: copies of the models, the report in its forms, the resolved config."""
    import yaml

    with _guard(work):
        for outcome in outcomes:
            if _is_model(outcome):
                shutil.copyfile(outcome.entry.path / "model.tflite", work / f"{outcome.step.name}.tflite")
        write_pages(report, work, _figures(report, store))
        config = yaml.safe_dump(_plain(report.config), sort_keys=False, allow_unicode=True)
        (work / "config.yaml").write_text(config, encoding="utf-8")
        _write_decisions(report, outcomes, work)
        (work / "log.txt").touch()


def write_pages(report: Report, work: Path, drawings: Mapping[str, str]) -> None:
    """The report in all its forms."""
    (work / "report.json").write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
    (work / "report.md").write_text(markdown.render(report), encoding="utf-8")
    (work / "report.html").write_text(page.html(report, drawings), encoding="utf-8")
    (work / "junit.xml").write_text(junit.render(report), encoding="utf-8")


def _write_decisions(report: Report, outcomes: Sequence[Outcome], work: Path) -> None:
    """What each verified model decided on each test example, or its share of the metric, for `edgepipe compare`."""
    import numpy as np

    decisions: dict[str, Any] = {}
    for outcome in outcomes:
        if isinstance(outcome.step.stage, Verify):
            decisions |= outcome.step.stage.decisions(outcome.entry.path)
    if decisions:
        np.savez(work / DECISIONS, split=np.array(report.data.splits["test"].sha256), **decisions)


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config without settings that are null: they say the same when they are left out."""
    return {
        key: [_plain(item) if isinstance(item, dict) else item for item in value]
        if isinstance(value, list)
        else _plain(value)
        if isinstance(value, dict)
        else value
        for key, value in config.items()
        if value is not None
    }


def _figures(report: Report, store: Store) -> dict[str, str]:
    """The drawings, from the store when the same figures were drawn before: matplotlib takes a second."""
    content = figures.key_content(report)
    identity = {
        "stage": "figures",
        "content": key_of({"content": content.decode()}),
        "code": code.digest("pipeline.report.figures"),
        "matplotlib": version("matplotlib"),
    }
    key = key_of(identity)

    def fill(work: Path) -> None:
        for name, svg in figures.draw(report).items():
            path = work / f"{name}.svg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(svg, encoding="utf-8")

    entry = store.get(key) or store.put(key, "figures", identity, fill)
    return {name.removesuffix(".svg"): (entry.path / name).read_text(encoding="utf-8") for name in entry.files}


def _swap(work: Path, target: Path) -> None:
    """Put a finished folder in the place of another; two runs that end at once both succeed, the later one stays."""
    for _ in range(100):
        with tempfile.TemporaryDirectory(prefix=".old-", dir=target.parent) as aside:
            with suppress(FileNotFoundError):
                target.rename(Path(aside) / target.name)
            try:
                work.rename(target)
                return
            except OSError:
                if not target.exists():
                    raise
    raise StoreError(Fault("the run folder can't be replaced", where=str(target), do="close what writes into it"))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def _guard(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            Fault(
                "the run folder can't be written",
                where=str(place),
                received=error.strerror or str(error),
                do="choose another with --out DIR",
            )
        ) from None
