"""Plan a run: turn a config into steps, by resolving stage names, matching kinds and computing cache keys.

Nothing is run and TensorFlow is not imported. `why_missing` explains why a step is not in the store.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from pipeline.config import links
from pipeline.config.config import Config
from pipeline.core import yaml
from pipeline.core.errors import ConfigError, Fault, InputError, Place
from pipeline.core.store import Entry, Store
from pipeline.core.validation import dotted
from pipeline.data.source import Data
from pipeline.data.spec import Spec
from pipeline.data.tasks.task import Task
from pipeline.keras.layer_choice import unmatched
from pipeline.keras.models.model import Model
from pipeline.stages.follower import Follower
from pipeline.stages.stage import Stage
from pipeline.stages.step import Step, identity


def plan(config: Config, document: yaml.Document) -> tuple[Step, ...]:
    """Return the steps of a config in running order.

    Raises all that is known to be wrong with the config, its data and its models without TensorFlow, at once:
    InputError if only data and models are wrong, else ConfigError.
    """
    found = _Findings(document)
    linked, wrong = links.resolve(config.stages, document)
    found.faults += wrong
    data = found.of_data(config.data)
    models = {place: found.of_model(place, model, data and data[1]) for place, model in config.networks()}
    if data:
        found.of_config(_unfit(config, linked, data[1].task))
    if not wrong:
        found.of_config(_unmatched(config, linked, models))
    found.raise_all(ConfigError if wrong or found.misused else InputError)
    assert data is not None
    steps: list[Step] = []
    for i, (stage, needs) in enumerate(zip(config.stages, linked, strict=True)):
        above = tuple(steps[j] for j in needs)
        place = _place(config, i)
        network = models[place] if place else None
        decides = identity(stage, [step.key for step in above], data[0], network, config.seed, data[1].task.name)
        steps.append(Step(stage.label, stage, above, decides))
    return tuple(steps)


class _Findings:
    """Collects what is wrong with a config, its data and its models.

    misused  whether a setting is among it, and not only data or a model
    """

    def __init__(self, document: yaml.Document) -> None:
        self.document = document
        self.faults: list[Fault] = []
        self.misused = False

    def of_data(self, data: Data) -> tuple[Mapping[str, Any], Spec] | None:
        """Return the identity and the specification of the data; None if they can't be read."""
        try:
            return data.identity(), data.spec()
        except InputError as error:
            self.faults += error.faults
            return None

    def of_model(self, place: Place, model: Model, spec: Spec | None) -> Mapping[str, Any] | None:
        """Return the identity of a model; None if it can't be read or does not fit the data."""
        try:
            found = model.identity()
            if spec:
                model.refuse(spec)
            return found
        except InputError as error:
            field = dotted(place, self.document.value)
            where = self.document.where(place)
            self.faults += (replace(fault, where=fault.where or where, field=field) for fault in error.faults)
            return None

    def of_config(self, found: Iterable[tuple[Place, Fault]]) -> None:
        """Add faults of settings, each with its place."""
        for place, fault in found:
            field = dotted(place, self.document.value)
            self.faults.append(replace(fault, where=self.document.where(place), field=field))
            self.misused = True

    def raise_all(self, kind: type[ConfigError] | type[InputError]) -> None:
        """Raise an error of that kind, if there are faults."""
        if self.faults:
            raise kind(*self.faults)


def _place(config: Config, i: int) -> Place | None:
    """The place of the model that a stage starts from; None if it reads the result of another stage."""
    network = config.stages[i].network(config.model)
    if network is None:
        return None
    return ("model",) if network is config.model else ("stages", i, "model")


def _unfit(config: Config, linked: links.Links, task: Task) -> Iterator[tuple[Place, Fault]]:
    """Yield the settings that do not fit the task of the data, or the stages above."""
    parts: list[tuple[Place, Model | Stage]] = [(("model",), config.model)]
    parts += [(("stages", i), stage) for i, stage in enumerate(config.stages)]
    yield from (((*above, *place), fault) for above, part in parts for place, fault in part.unfit(task))
    for i, stage in enumerate(config.stages):
        if isinstance(stage, Follower):
            above = [config.stages[j] for j in _above(config.stages, linked, i)]
            yield from ((("stages", i, *place), fault) for place, fault in (stage.unfit_behind(above) if above else ()))


def _unmatched(
    config: Config, linked: links.Links, models: Mapping[Place, Mapping[str, Any] | None]
) -> Iterator[tuple[Place, Fault]]:
    """Yield the patterns that match no layer of the network, where its layers are known from its file.

    models: the identity of each model by its place, None for one that can't be used
    """
    for i, stage in enumerate(config.stages):
        patterns = stage.layers_named() if isinstance(stage, Follower) else {}
        chain = [i, *_above(config.stages, linked, i)]
        place = _place(config, chain[-1])
        if not patterns or not place or not models[place] or any(map(_renames, (config.stages[j] for j in chain[1:]))):
            continue
        network = config.stages[chain[-1]].network(config.model)
        names = network.layer_names() if network else None
        if names is not None:
            yield from ((("stages", i, *at), fault) for at, fault in unmatched(names, patterns))


def _renames(stage: Stage) -> bool:
    return isinstance(stage, Follower) and stage.renames


def _above(stages: Sequence[Stage], linked: links.Links, i: int) -> Iterator[int]:
    """Yield the positions of the stages that a result is made from, nearest first; none if it reads several results."""
    if len(linked[i]) - len(stages[i].reads_beside()) == 1:
        yield linked[i][0]
        yield from _above(stages, linked, linked[i][0])


_CODE = {  # place of a code digest in an identity -> the part that the code belongs to
    "code": "the stage", "data.code": "data", "model.code": "model", "data.task": "the task", "scoring": "its scoring",
    "model.custom": "the model's own layers", "teacher.custom": "the teacher's own layers",
}  # fmt: skip


def why_missing(step: Step, store: Store, last: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return why the store has no entry for a step, by comparison with another entry of the same kind: that of the
    config's last run (step -> key) or, where that is gone, the most similar one.
    """
    candidates = [entry for entry in store.entries() if entry.stage == step.stage.kind]
    if not candidates:
        return f"no {step.stage.kind} stage is in the store"
    own = [entry for entry in candidates if entry.key == last.get(step.name)]
    nearest = min(
        own or candidates,
        key=lambda entry: (len(_differences(entry.identity, step.identity)), len(_changed(entry, step))),
    )
    return "; ".join(_told(nearest, step, store)) or "its entry is damaged"


def _told(entry: Entry, step: Step, store: Store) -> Iterator[str]:
    for place, (old, new) in _differences(entry.identity, step.identity).items():
        if place.startswith("needs"):
            yield f"reads {' and '.join(_changed(entry, step) or [need.name for need in step.needs])}, which changed"
        elif place in _CODE:
            yield f"the code of {_CODE[place]} changed"
        elif place.endswith("content"):
            yield f"the content of {place.split('.')[0]} changed"
        else:
            words = ".".join(word for word in place.split(".") if word not in ("settings", "libraries"))
            giver = f" (target {step.stage.aimed[words]})" if words in step.stage.aimed else ""
            yield f"{words} {yaml.show(old)} -> {yaml.show(new)}{giver}"


def _changed(entry: Entry, step: Step) -> list[str]:
    """Names of the stages that the step reads and the entry read differently."""
    return [need.name for need, key in zip(step.needs, entry.identity["needs"], strict=False) if need.key != key]


def _differences(old: Any, new: Any, place: str = "") -> dict[str, tuple[Any, Any]]:
    """Return dotted place -> (old, new) for all leaf values that differ."""
    if isinstance(old, dict) and isinstance(new, Mapping):
        keys = dict.fromkeys([*old, *new])
        found = [_differences(old.get(key), new.get(key), f"{place}.{key}" if place else key) for key in keys]
        return {place: pair for part in found for place, pair in part.items()}
    return {} if old == new or (isinstance(new, tuple) and list(new) == old) else {place: (old, new)}
