"""Run the steps of a plan: each result is taken from the store, or made by an executor."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pipeline.config.config import Config
from pipeline.core import yaml
from pipeline.core.errors import EdgepipeError
from pipeline.core.progress import Progress
from pipeline.core.store import Entry, Store
from pipeline.engine import history
from pipeline.engine.advice import Advisor
from pipeline.engine.executors.local import Local
from pipeline.engine.watcher import Watcher
from pipeline.stages.stage import Artifact, Made
from pipeline.stages.step import Step


@dataclass(frozen=True)
class Outcome:
    """A step with its entry in the store. cached: the entry was not made by this run."""

    step: Step
    entry: Entry
    cached: bool


def run(
    config: Config, document: yaml.Document, steps: Sequence[Step], store: Store, log: Path, watcher: Watcher
) -> tuple[Outcome, ...]:
    """Make the results of all steps, in order. Output of TensorFlow and other libraries goes to the file `log`.

    Raises the StageError, InputError or StoreError of the first step that fails; finished results stay in the store.
    Unless the store has all results, the networks of all steps are checked first, so that a config is refused whatever
    the store has; this raises ConfigError or InputError with all faults.
    """
    executor = Local(config, store, log, watcher)
    advisor = Advisor(config)
    outcomes: list[Outcome] = []
    entries = {step.key: entry for step in steps if (entry := store.get(step.key))}
    if missing := [i for i, step in enumerate(steps) if step.key not in entries]:
        from pipeline.engine import preflight  # with all that trains

        executor.warm()
        watcher.doing("examining the networks")
        preflight.examine(config, document, steps, missing, log, watcher.note, watcher.doing)
    for i, step in enumerate(steps):
        try:
            entry = entries.get(step.key)
            upstream = {need.name: _artifact(need, entries) for need in step.needs}
            hear = partial(_heard, watcher, advisor, step.name)
            made = Made(entry, True) if entry else executor.make(step.stage, step.identity, upstream, hear)
        except EdgepipeError as error:
            raise _placed(error, document, i, step) from None
        if made.cached:
            watcher.cached(step.name)
        entries[step.key] = made.entry
        outcomes.append(Outcome(step, made.entry, made.cached))
    history.remember(store.root, config.name, {step.name: step.key for step in steps})
    return tuple(outcomes)


def _heard(watcher: Watcher, advisor: Advisor, name: str, progress: Progress) -> None:
    """Pass the progress of a step on, with its note and with what it says of a training that goes wrong."""
    watcher.progress(name, progress)
    for text in (*((progress.note,) if progress.note else ()), *advisor.heard(name, progress)):
        watcher.note(name, text)


def _artifact(step: Step, entries: Mapping[str, Entry]) -> Artifact:
    made_from = _artifact(step.source, entries) if step.source else None
    return Artifact(step.name, step.stage.gives, entries[step.key].path, made_from, step.key)


def _placed(error: EdgepipeError, document: yaml.Document, i: int, step: Step) -> EdgepipeError:
    """Return the error with the location of the stage in the config, for faults without a location of their own."""
    place, field = document.where(("stages", i)), f"stages.{step.name}"
    return type(error)(
        *(replace(fault, where=fault.where or place, field=fault.field or field) for fault in error.faults)
    )
