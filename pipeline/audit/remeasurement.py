"""Measure the models of a run folder again, from their files and the data that the report names."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.audit import examples
from pipeline.audit.model_file import LIMITS
from pipeline.audit.run_folder import Folder, Mismatch
from pipeline.core import processes
from pipeline.core.errors import Fault, InputError
from pipeline.core.progress import tell
from pipeline.core.store import Store
from pipeline.data.source import SPLITS, Data
from pipeline.keras import tf
from pipeline.keras.conversion.calibration import draw
from pipeline.report import decisions
from pipeline.report.decisions import Decisions
from pipeline.stages.auto import Auto
from pipeline.stages.convert import Convert
from pipeline.stages.stage import TFLITE, Artifact, Kind
from pipeline.stages.verification import measure_file
from pipeline.verify.device import Asked
from pipeline.verify.model_facts import ModelFacts
from pipeline.verify.scoring.scoring import Verdicts

NOT_COMPARED = {"latency_ms", "file"}  # times vary between machines and runs; a file's name is no property of it
# Fields that need the Keras model.
FROM_KERAS = ("error", "tensors", "pruned", "pruned_sparsity", "pruned_why", "clustered", "clustered_why")

# A run folder may come from a stranger, and what its report names must not run.
OWN_CODE = "needs the Keras model, whose own layers are modules that are not imported for a report"
_ELSEWHERE = "say where the data is now with --data"


class Job(NamedTuple):
    """A model to measure.

    device  device figures that its checks need
    made    the artifact in the store, or None when it is not there
    """

    model: ModelFacts
    path: Path
    device: Asked
    made: Artifact | None


@dataclass
class Rerun:
    """Results of measuring again, filled step by step.

    fresh       model -> its measured fields
    decided     model -> its decisions (N,)
    decisions   all decisions with the test split's labels; None unless every model was measured
    mismatches  mismatches of the data, the calibration examples and the decisions
    unmeasured  (what could not be measured, reason)
    latency     model -> median in ms, (here, in the report)
    """

    fresh: dict[str, dict[str, Any]] = field(default_factory=dict)
    decided: dict[str, Verdicts] = field(default_factory=dict)
    decisions: Decisions | None = None
    mismatches: list[Mismatch] = field(default_factory=list)
    unmeasured: list[tuple[str, str]] = field(default_factory=list)
    latency: dict[str, tuple[float | None, float | None]] = field(default_factory=dict)


def rerun(folder: Folder, spec: str | None, store: Store) -> Rerun:
    """Measure every verified model whose file is intact.

    spec names the data, as for `--data`; None for the data of the report's config. Raises InputError for data that
    can't be read, StageError when a runtime crashes.
    """
    data = find_data(folder, spec)
    try:
        done = Rerun(mismatches=list(_data_mismatches(folder, data)))
    except InputError as error:
        raise InputError(*(replace(fault, do=fault.do or _ELSEWHERE) for fault in error.faults)) from None
    if any(mismatch.what == "data.splits.test.sha256" for mismatch in done.mismatches):
        names = ", ".join(model.name for model in folder.report.models if model.verified)
        done.unmeasured.append((names, "this is not the test split of the report"))
        return done
    done.mismatches += _calibration_mismatches(folder, data)
    asked = {
        name: stage.asked for stage in folder.verifies for name in stage.reads()
    }  # the last stage wins, as in the report
    jobs = [_job(folder, model, store, asked[model.name], done) for model in folder.intact if model.name in asked]
    (answers,) = processes.gather(
        f"the measurement of {folder.path}", [(_measure, data, folder.config.seed, jobs)], LIMITS, hear=tell
    )
    for job, (facts, decided, others) in zip(jobs, answers, strict=True):
        _keep(done, job, facts, {"": decided, **{f"@{runtime}": each for runtime, each in others.items()}})
    done.unmeasured += [(name, "its file is not the one that the report states") for name in asked.keys() - done.fresh]
    done.mismatches += _kept_mismatches(folder, done.decided, data if spec is None else None)
    if asked.keys() <= done.decided.keys():
        test = data.split("test")
        y = test.batch(np.arange(len(test)))[1]
        done.decisions = Decisions(test.sha256, y, done.decided, *data.positions("test"))
    return done


def find_data(folder: Folder, spec: str | None) -> Data:
    """The data of the report's config or, if given, of `spec`. An .npz file in `spec` replaces only the config's path.

    Raises InputError for examples without labels.
    """
    carried = next((model.contract for model in folder.report.models if model.contract), None)
    data: Data = folder.config.data.feeding(carried.whole if carried else None)
    if spec is None:
        return data
    path = Path(spec)
    if path.suffix == ".npz" and "path" in type(data).model_fields:
        return data.model_copy(update={"path": path})
    found = examples.load(spec).data
    if not isinstance(found, Data):
        raise InputError(
            Fault("must hold x_train, y_train and so on, as the report's data", where="--data", received=spec)
        )
    return found.feeding(data.whole)


def _data_mismatches(folder: Folder, data: Data) -> Iterator[Mismatch]:
    stated = folder.report.data
    for name in SPLITS:
        split = data.split(name)
        for what, found in (("sha256", split.sha256), ("examples", len(split))):
            told = getattr(stated.splits[name], what) if name in stated.splits else None
            if found != told:
                place = f"data.splits.{name}.{what}"
                yield Mismatch(file="report.json", what=place, expected=str(found), received=str(told))
    if data.spec().labels != stated.labels:
        expected, received = (", ".join(labels)[:80] for labels in (data.spec().labels, stated.labels))
        yield Mismatch(file="report.json", what="data.labels", expected=expected, received=received)


def _calibration_mismatches(folder: Folder, data: Data) -> Iterator[Mismatch]:
    """Yield models whose calibration examples in the report are not those that their stage draws."""
    told = {model.name: model.calibration for model in folder.report.models if model.calibration}
    for stage in folder.config.stages:
        calibration = told.get(stage.label)
        if calibration is None or not isinstance(stage, Convert | Auto):
            continue
        sample = draw(data, stage.calibration, folder.config.seed)
        for what, found in (("samples", len(sample.x)), ("sha256", sample.sha256)):
            if found != getattr(calibration, what):
                place, received = f"models.{stage.label}.calibration.{what}", str(getattr(calibration, what))
                yield Mismatch(file="report.json", what=place, expected=str(found), received=received)


def _job(folder: Folder, model: ModelFacts, store: Store, device: Asked, done: Rerun) -> Job:
    """Build the job of a model. What can't be measured is added to `done`."""
    made, why = _made(folder, model, store) if not _own_code(folder) else (None, OWN_CODE)
    if why:
        done.unmeasured.append((f"{model.name}: {', '.join(FROM_KERAS)}", why))
    if model.calibration and model.calibration.halves:
        done.unmeasured.append((f"{model.name}: calibration.halves", "the conversion would have to be made again"))
    return Job(model, folder.path / model.file, device, made)


def _measure(send: processes.Send, data: Data, seed: int, jobs: Sequence[Job]) -> None:
    """Send the facts and the decisions (N,) of each model; called in the child process."""
    if any(job.made for job in jobs):
        tf.start(seed)
    test = data.split("test")
    x, y = test.batch(np.arange(len(test)))
    send([measure_file(job.model.name, job.path, job.made, job.device, data, x, y) for job in jobs])


def _keep(done: Rerun, job: Job, facts: ModelFacts, decided: Mapping[str, Verdicts]) -> None:
    """Add the results of one model to `done`."""
    name, skipped = job.model.name, {*NOT_COMPARED, *(FROM_KERAS if job.made is None else ())}
    if job.model.vela and facts.vela is None:
        skipped |= {"vela", "vela_why"}
        done.unmeasured.append((f"{name}: vela", facts.vela_why))
    fields = facts.model_fields_set - skipped
    done.fresh[name] = {field: getattr(facts, field) for field in fields}
    done.decided |= {f"{name}{key}": each for key, each in decided.items()}
    done.latency[name] = (_median(facts), _median(job.model))


def _median(facts: ModelFacts) -> float | None:
    return facts.latency_ms.p50 if facts.latency_ms else None


def _own_code(folder: Folder) -> bool:
    """Whether the Keras models need modules that the report names."""
    return any(getattr(model, "custom", None) for _, model in folder.config.networks())


def _made(folder: Folder, model: ModelFacts, store: Store) -> tuple[Artifact | None, str]:
    """A model's artifact in the store with all stages above it, found by the report's keys; or None and the reason."""
    key = next((step.key for step in folder.report.steps if step.name == model.name), "")
    entry = store.get(key) if re.fullmatch("[0-9a-f]{64}", key) else None
    if entry is None:
        return None, "needs the Keras model, which is not in the store"
    if entry.files.get(TFLITE) != model.sha256:
        return None, "needs the Keras model; the stage's entry in the store made another file"
    made = _artifact(store, key)
    return made, "" if made else "needs the stages above, which are not all in the store"


def _artifact(store: Store, key: str) -> Artifact | None:
    """The store's entry of a key with all stages above it; None when any of them is not in the store."""
    entry = store.get(key)
    if entry is None:
        return None
    kind: Kind = "tflite" if TFLITE in entry.files else "keras"
    if entry.identity["model"] is not None:  # made from the config's model, possibly with a teacher
        return Artifact(entry.stage, kind, entry.path, key=key)
    above = _artifact(store, entry.identity["needs"][0])
    return above and Artifact(entry.stage, kind, entry.path, above, key)


def _kept_mismatches(folder: Folder, fresh: Mapping[str, Verdicts], data: Data | None) -> Iterator[Mismatch]:
    """Yield models whose decisions in the folder differ from those they make now, and positions of other examples.

    data: the data of the report; None for other data, in which the same examples may be in other places.
    """
    try:
        kept = decisions.read(folder.path / decisions.FILE)
    except InputError:
        return  # file_mismatches reports it
    if data is not None:
        source, index = data.positions("test")
        if source != kept.source or not np.array_equal(index, kept.positions):
            told = f"where the test examples are in {source}"
            yield Mismatch(file=decisions.FILE, what="index", expected=told, received="other positions")
    for name in fresh.keys() & kept.models.keys():
        old, new = kept.models[name], fresh[name]
        if len(old) == len(new) and (flips := int(np.sum(old != new))):
            received = f"{flips} of {len(new)} others"
            yield Mismatch(file=decisions.FILE, what=name, expected="what the file decides", received=received)
