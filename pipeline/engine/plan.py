"""Plan a run: turn a config into steps, by resolving stage names, matching kinds and computing cache keys.

Nothing is run and TensorFlow is not imported. `why_missing` explains why a step is not in the store.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipeline.config.config import Config
from pipeline.core import yaml
from pipeline.core.errors import ConfigError, Fault, Place, did_you_mean, input_of
from pipeline.core.store import Entry, Store
from pipeline.core.validation import dotted
from pipeline.keras.models.model import Model
from pipeline.stages.follower import Follower
from pipeline.stages.stage import Stage
from pipeline.stages.step import Step, identity


def plan(config: Config, document: yaml.Document) -> tuple[Step, ...]:
    """Return the steps of a config in running order.

    Raises ConfigError with all names that match no stage, or with all settings that do not fit the task of the data or
    the stages above. Raises InputError if data or a model file can't be read.
    """
    links = list(_links(config, document))
    data, model, task = config.data.identity(), config.model.identity(), config.data.spec().task
    _refuse_unfit(config, links, document)  # also reads the data, so that unusable data are reported before training
    steps: list[Step] = []
    for stage, needs in zip(config.stages, links, strict=True):
        above = tuple(steps[i] for i in needs)
        with input_of(f"stages.{stage.label}.model"):
            network = _network(stage, config.model, model)
        decides = identity(stage, [step.key for step in above], data, network, config.seed, task.name)
        steps.append(Step(stage.label, stage, above, decides))
    return tuple(steps)


def _network(stage: Stage, model: Model, known: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the identity of the network that a stage starts from; None for a stage that reads another stage.

    known: the identity of the config's model.
    """
    network = stage.network(model)
    return known if network is model else network.identity() if network else None


def _refuse_unfit(config: Config, links: Sequence[tuple[int, ...]], document: yaml.Document) -> None:
    """Raise ConfigError with all settings that do not fit the task of the data, or the stages above."""
    task = config.data.spec().task
    parts: list[tuple[Place, Model | Stage]] = [(("model",), config.model)]
    parts += [(("stages", i), stage) for i, stage in enumerate(config.stages)]
    found = [((*above, *place), fault) for above, part in parts for place, fault in part.unfit(task)]
    found += [
        (("stages", i, *place), fault)
        for i, stage in enumerate(config.stages)
        if isinstance(stage, Follower)
        for place, fault in stage.unfit_behind([config.stages[j] for j in _above(config.stages, links, i)])
    ]
    if found:
        raise ConfigError(
            *(replace(fault, where=document.where(at), field=dotted(at, document.value)) for at, fault in found)
        )


def _above(stages: Sequence[Stage], links: Sequence[tuple[int, ...]], i: int) -> Iterator[int]:
    """Yield the positions of the stages that a result is made from, nearest first; none if it reads several results."""
    if len(links[i]) - len(stages[i].reads_beside()) == 1:
        yield links[i][0]
        yield from _above(stages, links, links[i][0])


def _links(config: Config, document: yaml.Document) -> Iterator[tuple[int, ...]]:
    """Yield, for each stage, the positions of the stages that it reads. Raises ConfigError with all faults."""
    faults: list[Fault] = []
    links = []
    labels = [stage.label for stage in config.stages]
    for i, stage in enumerate(config.stages):
        if stage.label in labels[:i]:
            do = "give one of them a `name:`"
            faults.append(_fault(document, i, stage, "name", "is the name of a stage above too", repr(stage.label), do))
        links.append(tuple(_needs(config.stages, i, document, faults)))
    if faults:
        raise ConfigError(*faults)
    yield from links


def _needs(stages: Sequence[Stage], i: int, document: yaml.Document, faults: list[Fault]) -> Iterator[int]:
    yield from _sources(stages, i, document, faults)
    for field, name in stages[i].reads_beside().items():
        yield from _named(stages, i, name, field, document, faults)


def _sources(stages: Sequence[Stage], i: int, document: yaml.Document, faults: list[Fault]) -> Iterator[int]:
    """Yield the positions of the stages that a result is made from, or that a verify stage checks."""
    stage, names = stages[i], stages[i].reads()
    if stage.takes == "nothing":
        if stage.from_ is not None:
            faults.append(_fault(document, i, stage, "from", "is not for a stage that starts from the config's model"))
    elif names is not None:
        if stage.from_ is not None:
            faults.append(_fault(document, i, stage, "from", "is not for this stage; `of` names what it reads"))
        for name in names:
            field = "baseline" if name == getattr(stage, "baseline", None) else "of"
            yield from _named(stages, i, name, field, document, faults)
    elif stage.from_ is not None:
        yield from _named(stages, i, stage.from_, "from", document, faults)
    elif not stage.starts:
        fitting = [j for j in range(i) if stages[j].gives == stage.takes]
        if not fitting:
            rule = f"needs a stage above that gives {_article(stage.takes)}"
            faults.append(_fault(document, i, stage, "stage", rule))
        yield from fitting[-1:]


def _named(
    stages: Sequence[Stage], i: int, name: str, field: str, document: yaml.Document, faults: list[Fault]
) -> Iterator[int]:
    labels = [stage.label for stage in stages]
    stage = stages[i]
    if name not in labels[:i]:
        below = " above; it stands below" if name in labels[i + 1 :] else ""
        do = did_you_mean(
            name, (label for label, other in zip(labels[:i], stages, strict=False) if other.gives == stage.takes)
        )
        faults.append(_fault(document, i, stage, field, f"names no stage{below or ' above'}", repr(name), do))
        return
    j = labels.index(name)
    if stages[j].gives != stage.takes:
        rule = f"must name a stage that gives {_article(stage.takes)}"
        faults.append(_fault(document, i, stage, field, rule, f"{name!r}, which gives {_article(stages[j].gives)}"))
        return
    yield j


def _article(kind: str) -> str:
    return {"keras": "a Keras model", "tflite": "a .tflite file", "checks": "checks"}.get(kind, kind)


def _fault(
    document: yaml.Document, i: int, stage: Stage, field: str, rule: str, received: str = "", do: str = ""
) -> Fault:
    return Fault(rule, document.where(("stages", i, field)), f"stages.{stage.label}.{field}", received, do)


_CODE = {  # place of a code digest in an identity -> the part that the code belongs to
    "code": "the stage", "data.code": "data", "model.code": "model", "data.task": "the task", "scoring": "its scoring",
}  # fmt: skip


def why_missing(step: Step, store: Store) -> str:
    """Return why the store has no entry for a step, by comparison with the most similar entry of the same kind."""
    candidates = [entry for entry in store.entries() if entry.stage == step.stage.kind]
    if not candidates:
        return f"no {step.stage.kind} stage is in the store"
    nearest = min(
        candidates, key=lambda entry: (len(_differences(entry.identity, step.identity)), len(_changed(entry, step)))
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
