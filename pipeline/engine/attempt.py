"""Try what TensorFlow may refuse before the first training: a training step, and each conversion, of initial weights.

Each attempt runs in a process of its own, because the converter can crash. Networks of well-known layers alone are not
tried. The layer to blame is found by trying each unusual layer alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.config.config import Config
from pipeline.core import processes
from pipeline.core.errors import EdgepipeError, Fault, PlacedFault, StageError
from pipeline.core.telling import telling
from pipeline.data.source import Data
from pipeline.keras import tf, trial
from pipeline.keras.conversion.refusal import crash
from pipeline.keras.conversion.request import Request
from pipeline.keras.models.model import Model
from pipeline.keras.types import KerasModel
from pipeline.keras.well_known import channels_first, unusual
from pipeline.stages.auto import Auto
from pipeline.stages.convert import Convert
from pipeline.stages.ladder.rungs import convert
from pipeline.stages.stage import Stage
from pipeline.stages.training import Training

_CHANNELS = "build it with data_format='channels_last', and bring the data with the channels last"
_OTHER = "build the network with other layers; none may fix the batch size"
_UNTRAINED = "TensorFlow can't train this network on this machine"
EXAMPLES = 3  # a number that no network's fixed batch is likely to have


@dataclass(frozen=True)
class Suspect:
    """A layer that is not well known: its name, its class, and whether its channels come first."""

    name: str
    kind: str
    channels_first: bool

    def __str__(self) -> str:
        return f"{self.name!r} ({self.kind})"


@dataclass(frozen=True)
class Attempt:
    """Something to try.

    position  of the step in the run
    network   file of the network that the step reads: it is loaded in each process
    request   what the converter is asked for; None for a training step
    aware     whether the network is trained quantization-aware before it is converted
    suspects  the layers of the network that are not well known
    """

    position: int
    network: Path
    request: Request | None
    aware: bool
    suspects: tuple[Suspect, ...]


def attempts(stage: Stage, position: int, network: KerasModel, aware: bool, first: bool, path: Path) -> list[Attempt]:
    """Return what to try of a stage. first: whether it is the first to train its network; path: for the network."""
    suspects = tuple(Suspect(each.name, type(each).__name__, channels_first(each)) for each in unusual(network))
    requests: list[Request | None] = [None] if isinstance(stage, Training) and stage.epochs and first else []
    requests += (
        [stage.plain()] if isinstance(stage, Convert) else [convert(stage).plain()] if isinstance(stage, Auto) else []
    )
    if not suspects or not requests:
        return []
    tf.save_model(network, path)
    return [Attempt(position, path, request, aware, suspects) for request in requests]


def outcome(attempt: Attempt, config: Config, log: Path) -> Iterator[PlacedFault | str]:
    """Yield the fault of an attempt that fails, or a note on what an integer file will keep in float."""
    notes: list[str] = []
    fault = _tried(attempt, config, "", log, notes)
    if fault is None:
        yield from notes
        return
    blamed = [each for each in attempt.suspects if _tried(attempt, config, each.name, log, [])]
    if blamed:
        fault = replace(fault, received=f"layer {', '.join(map(str, blamed))}: {fault.received}")
    if any(each.channels_first for each in blamed):
        fault = replace(fault, do=_CHANNELS)
    yield ("quantization",) if attempt.request else (), fault


def _tried(attempt: Attempt, config: Config, only: str, log: Path, notes: list[str]) -> Fault | None:
    """What went wrong when the network, or one layer of it, was tried; None if nothing did. notes: gets the notes."""
    told: list[Fault | str] = []
    models = [model for _, model in config.networks()]
    try:
        processes.call("the trial", log, told.append, _try, attempt, only, config.data, config.seed, models)
    except StageError as error:  # the process ended
        how = f"ended by {error.faults[0].received}"
        return crash(attempt.request.quantization, how) if attempt.request else Fault(_UNTRAINED, received=how)
    notes += (each for each in told if isinstance(each, str))
    return next((each for each in told if isinstance(each, Fault)), None)


def _try(send: processes.Send, attempt: Attempt, only: str, data: Data, seed: int, models: Sequence[Model]) -> None:
    """Try the network, or one layer of it, and send the fault or notes; runs in a child process."""
    tf.start(seed)
    for each in models:
        each.prepare()
    network = tf.load_model(attempt.network)
    x, _ = data.split("train").batch(np.arange(min(EXAMPLES, len(data.split("train")))))
    try:
        if only:
            network, x = trial.alone(network, only, x)
        if attempt.request:
            for note in trial.convert(network, attempt.request, x, attempt.aware and not only):
                send(note)
        else:
            trial.train(network, x, None if only else data, seed)
    except EdgepipeError as error:
        send(error.faults[0])
    except Exception as error:  # TensorFlow raises exceptions of many types
        rule = f"{attempt.request.quantization} of this network can't be made" if attempt.request else _UNTRAINED
        send(Fault(rule, received=telling(error), do=_OTHER))
