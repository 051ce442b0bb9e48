"""Check the networks of a run before the first training, and report all problems at once.

The networks are built with initial weights, and every stage checks the network that it will read: its layers and their
names are known before training. Problems that depend on trained weights are reported later, by the stage itself.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.config.config import Config
from pipeline.core import processes, yaml
from pipeline.core.errors import ConfigError, EdgepipeError, Fault, InputError, Place
from pipeline.core.validation import dotted
from pipeline.data.spec import Spec
from pipeline.engine.attempt import Attempt, attempts, outcome
from pipeline.keras import tf
from pipeline.keras.models.model import Model
from pipeline.keras.types import KerasModel
from pipeline.stages.follower import Follower
from pipeline.stages.ladder.budgets import Budgets
from pipeline.stages.step import Step
from pipeline.stages.taught import Taught
from pipeline.stages.training import Training

Told = tuple[Place, Fault | str, bool]  # place, fault or note, and whether it is a problem of the user's model


def examine(
    config: Config,
    document: yaml.Document,
    steps: Sequence[Step],
    missing: Collection[int],
    log: Path,
    note: Callable[[str, str], None],
    doing: Callable[[str], None] = lambda what: None,
) -> None:
    """Check the networks of all steps, whatever the store has, so that a config is always judged alike.

    missing: the positions of the steps that are still to be made. `note` is called with the name of such a step and a
    message for each finding that is not an error, `doing` with what takes a while. Raises ConfigError with all faults,
    or InputError if all of them are problems of models themselves.
    """
    told: list[Told] = list(_too_few(config, steps))
    tries: list[Attempt] = []

    def hear(message: Told | Attempt) -> None:
        tries.append(message) if isinstance(message, Attempt) else told.append(message)

    with TemporaryDirectory() as folder:
        given = (steps, missing, config.model, config.data.spec(), config.seed, Path(folder))
        processes.call("the examination of the networks", log, hear, _examine, *given)
        for each in tries:
            doing(f"trying {steps[each.position].name} with initial weights")
            found = [(("stages", each.position, *place), what, True) for place, what in _tried(each, config, log)]
            told += (new for new in found if not any(_alike(new[1], old) for _, old, _ in told))
    for place, text, _ in told:
        if isinstance(text, str) and place[1] in missing:
            note(steps[int(place[1])].name, text)
    faults = [(place, fault, brought) for place, fault, brought in told if isinstance(fault, Fault)]
    if faults:
        kind = InputError if all(brought for _, _, brought in faults) else ConfigError
        raise kind(*(_placed(fault, place, document) for place, fault, _ in faults))


def _too_few(config: Config, steps: Sequence[Step]) -> Iterator[Told]:
    """Yield faults of `max_drop` settings that are too small to be measured on the validation split."""
    if not config.data.spec().task.decides:
        return
    for i, step in enumerate(steps):
        fault = step.stage.too_few(len(config.data.split("validation"))) if isinstance(step.stage, Budgets) else None
        if fault:
            yield ("stages", i, "max_drop"), fault, False


def _placed(fault: Fault, place: Place, document: yaml.Document) -> Fault:
    return replace(fault, where=fault.where or document.where(place), field=dotted(place, document.value))


def _alike(one: Fault | str, other: Fault | str) -> bool:
    """Whether two faults have one cause: a layer that no quantization takes."""
    return isinstance(one, Fault) and isinstance(other, Fault) and (one.received, one.do) == (other.received, other.do)


def _tried(attempt: Attempt, config: Config, log: Path) -> Iterator[tuple[Place, Fault | str]]:
    yield from (((), each) if isinstance(each, str) else each for each in outcome(attempt, config, log))


def _examine(
    send: processes.Send,
    steps: Sequence[Step],
    missing: Collection[int],
    model: Model,
    spec: Spec,
    seed: int,
    folder: Path,
) -> None:
    """Check the networks, and send what to try of the steps at positions `missing`; runs in a child process.

    folder: for the networks to be tried
    """
    networks = _Networks(send, model, spec, seed)
    for i, step in enumerate(steps):
        network = networks.follow(step, i)
        for each in networks.attempts(step, i, network, folder / f"{i}.h5") if i in missing else ():
            send(each)


class _Networks:
    """Builds the networks of a run step by step, and sends what the steps find in them.

    after    step name -> the network that the step makes; None if it is not known before the step runs
    resized  names of steps whose layers will have other sizes than the network here
    plain    step name -> the network that it makes, or before it was wrapped for quantization-aware training
    """

    def __init__(self, send: processes.Send, model: Model, spec: Spec, seed: int) -> None:
        self.send, self.model, self.spec, self.seed = send, model, spec, seed
        self.after: dict[str, KerasModel | None] = {}
        self.resized: set[str] = set()
        self.plain: dict[str, KerasModel | None] = {}
        self._trained: set[int] = set()
        self._built: dict[Place, KerasModel | None] = {}

    def follow(self, step: Step, i: int) -> KerasModel | None:
        """Determine the network that a step makes, and send what the step finds in the one it reads.

        Returns the one that it reads; before it was wrapped, if quantization-aware training wrapped it.
        """
        stage, start = step.stage, step.stage.network(self.model)
        if start:
            network = self._start(start, ("model",) if start is self.model else ("stages", i, "model"), stage)
        else:
            network = self.after.get(step.source.name) if step.source else None
        teacher = self._teacher(stage, i) if isinstance(stage, Taught) else None
        self.after[step.name] = network
        if network and isinstance(stage, Follower):
            resized = step.source is not None and step.source.name in self.resized
            for place, what in self._found(stage, network, teacher, resized):
                self.send((("stages", i, *place), what, False))
            self.resized |= {step.name} if resized or stage.resizes else set()
            self.after[step.name] = stage.leaves(network)
        read = network or (self.plain.get(step.source.name) if step.source else None)
        self.plain[step.name] = self.after[step.name] or read
        return read

    def attempts(self, step: Step, i: int, network: KerasModel | None, path: Path) -> list[Attempt]:
        """Return what to try of a step that reads this network."""
        if network is None:
            return []
        aware = any(above.stage.kind == "qat" for above in step.chain)
        first = id(network) not in self._trained
        self._trained |= {id(network)} if isinstance(step.stage, Training) and step.stage.epochs else set()
        return attempts(step.stage, i, network, aware, first, path)

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
        """Return the network that a stage starts from; send a fault and return None if the stage can't train it."""
        network = self._network(model, place)
        if network and isinstance(stage, Training) and stage.epochs and not network.trainable_weights:
            fault = Fault("must have weights to train", received=f"{len(network.weights)}, and none of them trainable")
            self.send((place, fault, True))
            return None
        return network

    def _network(self, model: Model, place: Place) -> KerasModel | None:
        """Return the network of the model at a place; send the faults and return None if it can't be built."""
        if place not in self._built:
            tf.start(self.seed)  # resets the counters in default layer names, as at the start of a stage
            self._built[place] = None
            try:
                self._built[place] = model.build(self.spec)
            except EdgepipeError as error:
                for fault in error.faults:
                    self.send((place, fault, True))
        return self._built[place]
