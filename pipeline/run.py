"""Steps -> results: each step comes from the store, or is run in a process of its own and stored."""

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from pipeline import child, preflight, yaml
from pipeline.config import Config
from pipeline.errors import EdgepipeError, StoreError
from pipeline.plan import Step
from pipeline.stage import Artifact, Data, Inputs, Model, Progress, Stage
from pipeline.stages.training import Training
from pipeline.store import Entry, Store, store_fault

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)


class Watcher(Protocol):
    """Who is told how a run goes."""

    def cached(self, name: str) -> None:
        """The step's result was in the store."""

    def started(self, name: str) -> None:
        """The step runs now."""

    def waiting(self, name: str) -> None:
        """Another process makes this step; it is waited for."""

    def note(self, name: str, text: str) -> None:
        """What is worth knowing of the step before the first training."""

    def progress(self, name: str, progress: Progress) -> None:
        """How far the step is."""

    def finished(self, name: str, seconds: float) -> None:
        """The step's result is in the store."""


@dataclass(frozen=True)
class Outcome:
    """A step with its result in the store, and whether it was there before this run."""

    step: Step
    entry: Entry
    cached: bool


def run(
    config: Config, document: yaml.Document, steps: Sequence[Step], store: Store, log: Path, watcher: Watcher
) -> tuple[Outcome, ...]:
    """Make every step's result, in order. What TensorFlow and others print goes to the file `log`.

    Raises StageError, InputError or StoreError of the first step that fails; what was finished stays in the store.
    Before the first training the networks are examined, with ConfigError or InputError for all that is found.
    """
    outcomes: list[Outcome] = []
    entries: dict[str, Entry] = {}
    examined = False
    for i, step in enumerate(steps):
        try:
            entry = entries.get(step.key) or store.get(step.key)
            if entry is None and not examined and isinstance(step.stage, Training):
                preflight.examine(config, document, steps, i, log, watcher.note)
                examined = True
            outcome = Outcome(step, entry, True) if entry else _made(config, step, entries, store, log, watcher)
        except EdgepipeError as error:
            raise _placed(error, document, i, step) from None
        if outcome.cached:
            watcher.cached(step.name)
        entries[step.key] = outcome.entry
        outcomes.append(outcome)
    return tuple(outcomes)


def _made(config: Config, step: Step, entries: dict[str, Entry], store: Store, log: Path, watcher: Watcher) -> Outcome:
    """The result of a step that was not in the store."""
    child.start_server(log)
    with store.lock(step.key, lambda: watcher.waiting(step.name)):
        if entry := store.get(step.key):  # made while this process waited
            return Outcome(step, entry, True)
        watcher.started(step.name)
        entry = store.put(step.key, step.kind, step.identity, _filler(config, step, entries, store, log, watcher))
        store.finish(step.key)
    watcher.finished(step.name, entry.seconds)
    return Outcome(step, entry, False)


def _filler(
    config: Config, step: Step, entries: dict[str, Entry], store: Store, log: Path, watcher: Watcher
) -> Callable[[Path], None]:
    upstream = {need.name: _artifact(need, entries) for need in step.needs}
    resume = store.partial(step.key)

    def fill(work: Path) -> None:
        def hear(progress: Progress) -> None:
            watcher.progress(step.name, progress)

        given = (step.stage, config.data, config.model, config.seed, upstream, resume, work)
        child.call(f"stage {step.name!r}", log, hear, _run_stage, *given)

    return fill


def _run_stage(
    send: Callable[[Progress], None],
    stage: Stage,
    data: Data,
    model: Model,
    seed: int,
    upstream: dict[str, Artifact],
    resume: Path,
    work: Path,
) -> None:
    """What the child process does."""
    try:
        stage.run(Inputs(data, model, seed, upstream, resume, send), work)
    except OSError as error:
        if error.errno in _DISK:
            raise StoreError(store_fault(work, error, "written")) from error
        raise


def _artifact(step: Step, entries: dict[str, Entry]) -> Artifact:
    made_from = _artifact(step.source, entries) if step.source else None
    return Artifact(step.name, step.stage.gives, entries[step.key].path, made_from)


def _placed(error: EdgepipeError, document: yaml.Document, i: int, step: Step) -> EdgepipeError:
    """The error with the stage's place in the config where it has none of its own."""
    place, field = document.where(("stages", i)), f"stages.{step.name}"
    return type(error)(
        *(replace(fault, where=fault.where or place, field=fault.field or field) for fault in error.faults)
    )
