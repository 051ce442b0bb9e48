"""What is wrong with the networks of a run, all of it told before the first training.

The networks are built with their first weights, and every stage says what it finds in the one that it will get: the
layers and their names are known before anything is trained. What depends on trained weights is told when it is seen.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.config.config import Config
from pipeline.core import processes, yaml
from pipeline.core.errors import ConfigError, EdgepipeError, Fault, InputError, Place
from pipeline.core.validation import dotted
from pipeline.data.spec import Spec
from pipeline.keras import tf
from pipeline.keras.models.model import Model
from pipeline.keras.types import KerasModel
from pipeline.stages.follower import Follower
from pipeline.stages.ladder.budgets import Budgets
from pipeline.stages.step import Step
from pipeline.stages.taught import Taught
from pipeline.stages.training import Training

Told = tuple[Place, Fault | str, bool]  # where, a fault or a note, and whether it is of a model that was brought


def examine(
    config: Config,
    document: yaml.Document,
    steps: Sequence[Step],
    first: int,
    log: Path,
    note: Callable[[str, str], None],
) -> None:
    """Look at the networks of the steps from the first on; `note` gets a step's name and what is worth knowing.

    Raises ConfigError with every finding, or InputError when all are of models that can't be used.
    """
    told: list[Told] = list(_too_few(config, steps, first))
    given = (steps, first, config.model, config.data.spec(), config.seed)
    processes.call("the examination of the networks", log, told.append, _examine, *given)
    for place, text, _ in told:
        if isinstance(text, str):
            note(steps[int(place[1])].name, text)
    faults = [(place, fault, brought) for place, fault, brought in told if isinstance(fault, Fault)]
    if faults:
        kind = InputError if all(brought for _, _, brought in faults) else ConfigError
        raise kind(*(_placed(fault, place, document) for place, fault, _ in faults))


def _too_few(config: Config, steps: Sequence[Step], first: int) -> Iterator[Told]:
    """Drops that the validation split is too small to tell."""
    if not config.data.spec().task.decides:
        return
    for i, step in enumerate(steps):
        fault = step.stage.too_few(len(config.data.split("validation"))) if isinstance(step.stage, Budgets) else None
        if fault and i >= first:
            yield ("stages", i, "max_drop"), fault, False


def _placed(fault: Fault, place: Place, document: yaml.Document) -> Fault:
    return replace(fault, where=fault.where or document.where(place), field=dotted(place, document.value))


def _examine(send: processes.Send, steps: Sequence[Step], first: int, model: Model, spec: Spec, seed: int) -> None:
    """What the child process does."""
    networks = _Networks(send, model, spec, seed)
    for i, step in enumerate(steps):
        networks.follow(step, i, i >= first)


class _Networks:
    """The network that each step leaves, by its name; None for one that is not known before it runs."""

    def __init__(self, send: processes.Send, model: Model, spec: Spec, seed: int) -> None:
        self.send, self.model, self.spec, self.seed = send, model, spec, seed
        self.after: dict[str, KerasModel | None] = {}
        self.resized: set[str] = set()  # steps whose layers have other sizes than the network here
        self._built: dict[Place, KerasModel | None] = {}

    def follow(self, step: Step, i: int, examined: bool) -> None:
        """Find the network of a step, and tell what the step finds in the one that it gets."""
        stage, start = step.stage, step.stage.network(self.model)
        if start:
            network = self._start(start, ("model",) if start is self.model else ("stages", i, "model"), stage)
        else:
            network = self.after.get(step.source.name) if step.source else None
        teacher = self._teacher(stage, i) if examined and isinstance(stage, Taught) else None
        self.after[step.name] = network
        if network and isinstance(stage, Follower):
            resized = step.source is not None and step.source.name in self.resized
            for place, what in self._found(stage, network, teacher, resized) if examined else ():
                self.send((("stages", i, *place), what, False))
            self.resized |= {step.name} if resized or stage.resizes else set()
            self.after[step.name] = stage.leaves(network)

    def _found(
        self, stage: Follower, network: KerasModel, teacher: KerasModel | None, resized: bool
    ) -> Iterator[tuple[Place, Fault | str]]:
        yield from stage.unmatched(network)
        for each in () if resized else stage.examine(network):
            yield ((), each) if isinstance(each, str) else each
        if teacher and isinstance(stage, Taught):
            yield from stage.unteachable(network, teacher)

    def _teacher(self, stage: Taught, i: int) -> KerasModel | None:
        if isinstance(stage.teacher, Model):
            return self._network(stage.teacher, ("stages", i, "teacher"))
        return self.after.get(stage.teacher) if stage.teacher else None

    def _start(self, model: Model, place: Place, stage: object) -> KerasModel | None:
        """The network that a stage starts from; one that it can't train is a finding."""
        network = self._network(model, place)
        if network and isinstance(stage, Training) and stage.epochs and not network.trainable_weights:
            fault = Fault("must have weights to train", received=f"{len(network.weights)}, and none of them trainable")
            self.send((place, fault, True))
            return None
        return network

    def _network(self, model: Model, place: Place) -> KerasModel | None:
        """The network of the model at that place; None, and what is wrong is told, for one that can't be built."""
        if place not in self._built:
            tf.start(self.seed)  # layers that are named by number get the names that they will have
            self._built[place] = None
            try:
                self._built[place] = model.build(self.spec)
            except EdgepipeError as error:
                for fault in error.faults:
                    self.send((place, fault, True))
        return self._built[place]
