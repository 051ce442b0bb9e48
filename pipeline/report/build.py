"""Build the report from the outcomes of a run, and write the run folder with the report and its files."""

import gzip
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.config.config import Config, with_paths
from pipeline.core import code_digest
from pipeline.core.hashing import file_sha256
from pipeline.core.store import Store, key_of
from pipeline.core.versions import installed
from pipeline.data.source import SPLITS
from pipeline.engine.advice import Advisor
from pipeline.engine.run import Outcome
from pipeline.report import checksums, decisions, figures, junit, markdown, page
from pipeline.report.document import DataFacts, FileFacts, Origin, Report, Split, StepFacts
from pipeline.report.environment import environment
from pipeline.report.folder import guard
from pipeline.report.settings_text import settings_text
from pipeline.stages.sidecar import FACTS, read_facts
from pipeline.stages.stage import TFLITE
from pipeline.stages.verify import Verify
from pipeline.verify.model_facts import CalibrationFacts, CheckResult, ModelFacts


def ship(config: Config, outcomes: Sequence[Outcome], work: Path) -> None:
    """Write the results of a finished run into its folder: copies of the models, and their decisions."""
    with guard(work):
        for outcome in outcomes:
            if _is_model(outcome):
                shutil.copyfile(outcome.entry.path / TFLITE, work / f"{outcome.step.name}.tflite")
        _write_decisions(config, outcomes, work)


def build(config: Config, outcomes: Sequence[Outcome], work: Path, origin: Origin | None = None) -> Report:
    """Build the report of a finished run whose results are in the folder `work`."""
    measured, checks = _verified(outcomes)
    spec = config.data.spec()
    return Report(
        name=config.name,
        status="fail" if any(check.status != "pass" for check in checks) else "pass",
        origin=origin,
        environment=environment(),
        config=_portable(config.settings(), work),
        data=DataFacts(
            fingerprint=config.data.fingerprint(),
            task=spec.task.name,
            labels=spec.labels,
            splits={name: _split(config, name) for name in SPLITS},
        ),
        steps=tuple(_steps(config, outcomes, work)),
        models=tuple(
            _calibrated(measured.get(outcome.step.name) or _unverified(outcome), outcome)
            for outcome in outcomes
            if _is_model(outcome)
        ),
        checks=checks,
        files={
            path.name: FileFacts(sha256=file_sha256(path), bytes=path.stat().st_size)
            for path in sorted(work.iterdir())
            if path.name == decisions.FILE
        },
    )


def _verified(outcomes: Sequence[Outcome]) -> tuple[dict[str, ModelFacts], tuple[CheckResult, ...]]:
    """Facts by model name, and the results of all checks."""
    models: dict[str, ModelFacts] = {}
    checks: list[CheckResult] = []
    for outcome in outcomes:
        stage = outcome.step.stage
        if isinstance(stage, Verify):
            measured = stage.measured(outcome.entry.path)
            models |= {facts.name: facts for facts in measured}
            checks += stage.judged(measured)
    return models, tuple(checks)


def _is_model(outcome: Outcome) -> bool:
    return outcome.step.stage.gives == "tflite"


def _unverified(outcome: Outcome) -> ModelFacts:
    """Facts of a file that no verify stage lists."""
    path = outcome.entry.path / TFLITE
    content = path.read_bytes()
    return ModelFacts(
        name=outcome.step.name,
        file=f"{outcome.step.name}.tflite",
        sha256=file_sha256(path),
        bytes=len(content),
        gzip_bytes=len(gzip.compress(content, 9, mtime=0)),
        verified=False,
    )


def _calibrated(facts: ModelFacts, outcome: Outcome) -> ModelFacts:
    """Add the calibration examples to the facts."""
    observed = _told(outcome).get("calibration")
    return facts.model_copy(update={"calibration": CalibrationFacts(**observed)}) if observed else facts


def _told(outcome: Outcome) -> dict[str, Any]:
    """Information that the stage wrote in addition to its result; empty when there is none."""
    return read_facts(outcome.entry.path) if (outcome.entry.path / FACTS).is_file() else {}


def _portable(settings: dict[str, Any], work: Path) -> dict[str, Any]:
    """The settings with each path from the run folder, so that a folder which moves with its data stays whole."""

    def relative(path: str) -> str:
        return os.path.relpath(Path(path).parent.resolve() / Path(path).name, work.resolve())

    moved: dict[str, Any] = with_paths(settings, relative)
    return moved


def _steps(config: Config, outcomes: Sequence[Outcome], work: Path) -> Iterator[StepFacts]:
    advisor = Advisor(config)
    few = advisor.too_few
    for outcome in outcomes:
        facts = _step(outcome, advisor, work)
        if facts.curves and few:
            facts, few = facts.model_copy(update={"notes": (*facts.notes, few)}), ""  # once in a report
        yield facts


def _step(outcome: Outcome, advisor: Advisor, work: Path) -> StepFacts:
    step, entry = outcome.step, outcome.entry
    facts = _told(outcome)
    return StepFacts(
        name=step.name,
        stage=step.stage.kind,
        key=step.key,
        cached=outcome.cached,
        seconds=entry.seconds,
        settings=_portable(step.stage.settings(), work),
        curves={name: tuple(values) for name, values in facts.get("curves", {}).items()},
        layers=tuple(facts.get("layers", ())),
        notes=(*facts.get("notes", ()), *advisor.at_the_end(facts.get("curves", {}))),
        ladder=facts.get("ladder"),
        sensitivity=facts.get("sensitivity"),
    )


def _split(config: Config, name: str) -> Split:
    examples = config.data.split(name)
    return Split(examples=len(examples), sha256=examples.sha256)


def write(report: Report, store: Store, work: Path) -> None:
    """Write the rest of the run folder: all forms of the report, the resolved config, the checksums of all files."""
    with guard(work):
        write_pages(report, work, _figures(report, store))
        (work / "config.yaml").write_text(config_text(report), encoding="utf-8")
        (work / "log.txt").touch()
        checksums.write(work)


def write_pages(report: Report, work: Path, drawings: Mapping[str, str]) -> None:
    """Write all forms of the report."""
    for name, text in pages(report, drawings).items():
        (work / name).write_text(text, encoding="utf-8")


def pages(report: Report, drawings: Mapping[str, str]) -> dict[str, str]:
    """The text of each form of the report, by file name."""
    return {
        "report.json": report.model_dump_json(indent=2) + "\n",
        "report.md": markdown.render(report),
        "report.html": page.html(report, drawings),
        "junit.xml": junit.render(report),
    }


def config_text(report: Report) -> str:
    """The resolved config as the text of ``config.yaml``."""
    return settings_text(report.config)


def _write_decisions(config: Config, outcomes: Sequence[Outcome], work: Path) -> None:
    """Write the decisions of each verified model on each test example, if any model was verified."""
    found = [
        outcome.step.stage.decisions(outcome.entry.path)
        for outcome in outcomes
        if isinstance(outcome.step.stage, Verify)
    ]
    if found:
        models = {name: decided for _, of_stage in found for name, decided in of_stage.items()}
        test, (source, index) = config.data.split("test"), config.data.positions("test")
        kept = decisions.Decisions(test.sha256, found[0][0], models, source, index)
        decisions.write(work / decisions.FILE, kept)


def _figures(report: Report, store: Store) -> dict[str, str]:
    """The figures, taken from the store when they were drawn before, because matplotlib takes a second."""
    content = figures.key_content(report)
    identity = {
        "stage": "figures",
        "content": key_of({"content": content.decode()}),
        "code": code_digest.digest("pipeline.report.figures"),
        "matplotlib": installed("matplotlib"),
    }
    key = key_of(identity)

    def fill(work: Path) -> None:
        for name, svg in figures.draw(report).items():
            path = work / f"{name}.svg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(svg, encoding="utf-8")

    entry = store.get(key) or store.put(key, "figures", identity, fill)
    return {name.removesuffix(".svg"): (entry.path / name).read_text(encoding="utf-8") for name in entry.files}
