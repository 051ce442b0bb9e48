"""The examples for `edgepipe verify`: loaded from what `--data` names, and fitted to what the file says of itself.

A file may know how its examples are prepared: its contract has scale, offset, shape and labels, and its input has a
type and a range. What the user gives counts; what the user leaves out is taken from the file, and told in a note.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline import tflite
from pipeline.audit.formula import Formula, formula
from pipeline.config import config
from pipeline.core.errors import ConfigError, Fault, InputError
from pipeline.core.settings import Settings
from pipeline.data.contract import Contract
from pipeline.data.source import AnyData, Data
from pipeline.data.sources.arrays import ArrayData
from pipeline.data.sources.digits import Digits
from pipeline.data.sources.npz import Npz
from pipeline.data.spec import Whole
from pipeline.data.tasks.task import TASKS
from pipeline.tflite import demands
from pipeline.tflite.values import steps


class Examples(Settings):
    """YAML file for `--data`."""

    data: AnyData
    """Source of the examples, same as `data` of a config file. A test split is enough."""
    sequence: bool | None = None
    """Whether each example is a recording (steps, ...), whose steps run one after the other; the state of the file is
    reset before each recording. Default: yes, if the file keeps state and takes one dimension less."""
    quantized: bool | None = None
    """Whether the examples hold integers as the file's input stores them, and not real values. Default: found out from
    their type and range; where both are possible, an error asks."""


@dataclass(frozen=True)
class Arrays:
    """Examples without labels: an .npz file with an array (N, ...) for each input of a .tflite file, by name.

    formulas: how the real values of an input follow from its array; inputs that are not named have real values.
    """

    archive: Npz
    formulas: tuple[tuple[str, Formula], ...] = ()

    def load(self) -> dict[str, NDArray[Any]]:
        """Load the arrays as real values. Raises InputError for one that is not (N, ...) of finite numbers."""
        arrays = self.archive.named()
        for name, array in arrays.items():
            if not array.ndim or array.dtype.kind not in "uifb" or not np.isfinite(array).all():
                rule = f"{name} must be an array (N, ...) of finite numbers"
                where, received = str(self.archive.path), f"{array.dtype} {array.shape}"
                raise InputError(Fault(rule, where=where, received=received))
        return arrays | {name: each.real(arrays[name]) for name, each in self.formulas}


class Given(NamedTuple):
    """What the user gave: the examples, and how to read them where that was said; see `Examples`."""

    data: Data | Arrays
    sequence: bool | None = None
    quantized: bool | None = None


def load(spec: str, quantized: bool | None = None) -> Given:
    """Load what `--data` names: `digits`, an .npz file, or a YAML file with `data:`.

    quantized: the answer of the command line; None if it has none.
    """
    path = Path(spec)
    if spec == "digits":
        return Given(Digits(), quantized=quantized)
    if path.suffix == ".npz":
        return Given(_opened(Npz(source="npz", path=path)), quantized=quantized)
    if path.suffix in (".yaml", ".yml"):
        found = config.load_as(Examples, path)
        answer = found.quantized if quantized is None else quantized
        return Given(_opened(found.data), found.sequence, answer)
    raise ConfigError(Fault("must be digits, an .npz file or a YAML file with `data:`", where="--data", received=spec))


def _opened(data: Data) -> Data | Arrays:
    if isinstance(data, Npz) and not data.has_splits():
        return Arrays(data)
    return data.for_tests() if isinstance(data, ArrayData) else data


class Fitted(NamedTuple):
    """Examples as the file takes them, with a sentence for everything that was taken from the file; None for none."""

    data: Data | Arrays | None
    notes: tuple[str, ...]


def fit(given: Given, model: tflite.Model, carried: Contract | None) -> Fitted:
    """Fit the examples to a file. carried: its contract.

    Raises InputError for examples that the file can't take, or that could be read in two ways.
    """
    if isinstance(given.data, Data):
        given = given._replace(data=given.data.feeding(_whole(model, carried)))
    data: Data | Arrays = given.data
    notes: tuple[str, ...] = ()
    if isinstance(given.data, Arrays):
        data, notes = _fitted_arrays(given, given.data, model, carried)
    elif isinstance(given.data, Npz) and len(model.inputs) == len(model.outputs) == 1:
        data, notes = _fitted_archive(given, given.data, model, carried)
    elif given.quantized:
        rule = "`quantized` is for an .npz file and a file with one input and one output"
        raise InputError(Fault(rule, where="--data", do="name the arrays as the file's inputs are named"))
    return Fitted(data, (*notes, *_of_steps(given, data, model)))


def _whole(model: tflite.Model, carried: Contract | None) -> Whole | None:
    """The whole numbers that the file takes, by its contract; of a file without one, by its ops."""
    count = carried.ids if carried else demands.ids(model)
    return Whole(count, ids=True) if count else None


def _fitted_arrays(
    given: Given, data: Arrays, model: tflite.Model, carried: Contract | None
) -> tuple[Arrays, tuple[str, ...]]:
    found, notes = [], []
    for name, array in data.load().items():
        tensor = model.signature.inputs.get(name)
        if tensor is not None:
            where = f"{data.archive.path}: {name}"
            each = formula(array, Formula(1.0, 0.0), tensor, carried, given.quantized, where)
            found += [(name, each)] if each.why else []
            notes += [f"{name}: {each.why}"] if each.why else []
    return Arrays(data.archive, tuple(found)), tuple(notes)


def _fitted_archive(
    given: Given, data: Npz, model: tflite.Model, carried: Contract | None
) -> tuple[Npz, tuple[str, ...]]:
    notes: list[str] = []
    told = data.model_fields_set
    if carried and carried.task and "task" not in told and carried.task != data.task:
        data = data.for_tests(task=carried.task)
        notes.append(f"the task is {carried.task}, as the file's")
    splits = data.arrays()
    x, y = splits.get("test") or splits["train"]
    changes, reshaped = _shape(data, x, model, carried)
    notes += reshaped
    if carried and carried.channels and "channels" not in told and changes.get("shape", x.shape[1:]) == carried.shape:
        changes["channels"] = carried.channels
    if data.labels is None and (labels := _labels(data, y, model, carried)):
        changes["labels"] = labels
        if carried and carried.named:
            notes.append(f"the labels are the file's: {', '.join(labels[:6])}{', ...' if len(labels) > 6 else ''}")
    if {"scale", "offset"} & told:
        if given.quantized:
            raise InputError(Fault("give `quantized: true`, or scale and offset", where=str(data.path)))
        return data.for_tests(**changes), tuple(notes)
    read = formula(x, Formula(data.preprocessing(x)[1], 0.0), model.inputs[0], carried, given.quantized, str(data.path))
    if read.why:
        changes |= {"scale": read.scale, "offset": read.offset}
        notes.append(read.why)
    return data.for_tests(**changes), tuple(notes)


def _shape(
    data: Npz, x: NDArray[Any], model: tflite.Model, carried: Contract | None
) -> tuple[dict[str, Any], list[str]]:
    """The file's shape, if the examples differ from it by dimensions of size 1 alone; with a note."""
    wanted = carried.shape if carried else model.inputs[0].shape_signature[1:] or model.inputs[0].shape[1:]
    stored = x.shape[1:]
    if steps(model, dict.fromkeys(model.signature.inputs, x)):
        return ({} if data.channels else {"channels": "none"}), []
    if data.shape or stored == wanted or -1 in wanted or _without_ones(stored) != _without_ones(wanted):
        return {}, []
    return {"shape": wanted}, [f"examples {_by(stored)} are given to the file as {_by(wanted)}"]


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _labels(data: Npz, y: NDArray[Any], model: tflite.Model, carried: Contract | None) -> tuple[str, ...]:
    """The labels of the contract or, where the examples lack some, numbers for the file's outputs; () for neither."""
    if TASKS[data.task].fewest is None:
        return ()
    if carried and carried.labels:
        return carried.labels
    if not data.learns.decides or y.dtype.kind not in "iu" or not y.size or y.min() < 0:
        return ()
    count = max(2, int(np.prod(model.outputs[0].shape[1:])))
    seen = np.unique(y)
    complete = len(seen) > 1 and int(seen[-1]) == len(seen) - 1
    return () if complete or int(seen[-1]) >= count else tuple(map(str, range(count)))


def one(data: Data | Arrays, model: tflite.Model) -> dict[str, NDArray[Any]]:
    """One example of each input (1, ...), by name."""
    if isinstance(data, Arrays):
        return {name: array[:1] for name, array in data.load().items()}
    return dict.fromkeys(model.signature.inputs, data.split("test").batch(np.arange(1))[0])


def _of_steps(given: Given, data: Data | Arrays, model: tflite.Model) -> Iterator[str]:
    """Say how a file with state is run. Raises InputError unless the examples are recordings where that was said."""
    ports = model.signature.inputs
    labelled = isinstance(data, Data)
    arrays = one(data, model)
    count = steps(model, arrays)
    if given.sequence and count is None:
        taken = " and ".join(_by(tensor.shape[1:]) for tensor in ports.values())
        rule = f"recordings must be (N, steps, {taken.replace('x', ', ')})" if model.stateful else "it keeps no state"
        received = " and ".join(str(np.shape(x)) for x in arrays.values())
        raise InputError(Fault(f"`sequence: true`: {rule}", where=model.path or "", received=received))
    if given.sequence is False and count is not None:
        rule = "`sequence: false`: examples must not have one dimension more than the file takes"
        raise InputError(Fault(rule, where=model.path or ""))
    if count is not None:
        scored = "the output after the last is scored" if labelled else "every output is compared"
        yield f"each example is a recording of {count} steps, before which the file's state is reset; {scored}"
    elif kept := [*model.state.variables, *model.state.resources]:
        names = f"{', '.join(kept[:3])}{', ...' if len(kept) > 3 else ''}"
        yield f"the file keeps state ({names}), which is reset before each example; recordings can be (N, steps, ...)"
