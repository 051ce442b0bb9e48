"""The ops of a file that a config names, by the layers that they come from or by what they are."""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from pipeline import tensors, tflite
from pipeline.errors import Fault, StageError, did_you_mean
from pipeline.tflite.int8.spec import BORDER


def kept(model: tflite.Model, patterns: Sequence[str], setting: str, instead: str) -> tuple[tflite.Op, ...]:
    """The ops that match. StageError for a pattern that matches none, and when all ops match.

    setting: that has the patterns. instead: the settings with which all of the file is of that kind.
    """
    names = _names(model)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for known in names.values() for name in known):
            do = did_you_mean(pattern, (name for known in names.values() for name in known))
            raise StageError(Fault(f"{setting}: no layer and no op matches {pattern!r}", do=do))
    found = matching(model, patterns)
    if len(found) == len(names):
        raise StageError(
            Fault(f"{setting}: must leave some layers", received="all ops of the file", do=f"set {instead}")
        )
    return found


def matching(model: tflite.Model, patterns: Sequence[str]) -> tuple[tflite.Op, ...]:
    """Ops of the first subgraph that compute and that any of the patterns matches, in running order.

    A pattern is of Keras layers' names (`block1*`) or of ops' (`SOFTMAX`).
    """
    names = _names(model).items()
    return tuple(op for op, known in names if any(fnmatchcase(name, each) for name in known for each in patterns))


def _names(model: tflite.Model) -> dict[tflite.Op, set[str]]:
    ops = [op for op in model.subgraphs[0].ops if op.name not in BORDER]
    return {op: {op.name, *layers} for op, layers in _layers(model, ops)}


def listed(model: tflite.Model, ops: Sequence[tflite.Op]) -> str:
    """``conv1 (CONV_2D), scores (SOFTMAX)`` for a note."""
    return ", ".join(dict.fromkeys(f"{min(layers, default='?')} ({op.name})" for op, layers in _layers(model, ops)))


def _layers(model: tflite.Model, ops: Sequence[tflite.Op]) -> Iterator[tuple[tflite.Op, set[str]]]:
    """The ops with the names of the layers that are fused into each.

    The model's output has its name behind the last op, where the caller's type is another than the op's.
    """
    made = {tensor: op for op in model.subgraphs[0].ops for tensor in op.outputs}
    last: dict[tflite.Op, str] = {}
    for name, tensor in model.signature.outputs.items():
        while tensor in made and made[tensor].name in BORDER:
            tensor = made[tensor].reads[0]
        if tensor in made:
            last[made[tensor]] = name
    for op in ops:
        yield op, {*tensors.names(model, op), *([last[op]] if op in last else [])}
