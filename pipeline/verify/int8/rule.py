"""The classes Rule and OpBreach, and helpers that find and describe an op's operands."""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import numpy as np

from pipeline.tflite import int8_spec
from pipeline.tflite.graph import Op, Tensor
from pipeline.tflite.model import Model
from pipeline.verify.model_facts import Breach

Severity = Literal["fail", "warn", "info"]

COMPUTED = ("INT8", "INT16")  # types of activations inside the graph


class OpBreach(NamedTuple):
    """One breach of a rule: ``what`` is ``received`` and should be ``expected``.

    op        the op, or None for a breach of the whole graph
    severity  replaces the rule's severity, unless it is None
    """

    op: Op | None
    tensor: Tensor | None
    what: str
    received: str
    expected: str
    severity: Severity | None = None


Find = Callable[[Model], Iterator[OpBreach]]


class Rule(NamedTuple):
    """One rule of the specification that can be tested on a file.

    id        R1 to R16
    says      the rule in words
    severity  default severity of its breaches
    source    document that the rule comes from
    find      the function that yields the breaches
    """

    id: str
    says: str
    severity: Severity
    source: str
    find: Find

    def breaches(self, model: Model) -> Iterator[Breach]:
        public = public_names(model)
        for breach in self.find(model):
            op, tensor = breach.op, breach.tensor
            named = op.outputs[0] if op and op.outputs else tensor
            yield Breach(
                rule=self.id,
                severity=breach.severity or self.severity,
                subgraph=op.subgraph if op else tensor.subgraph if tensor else 0,
                op=op.name if op else "",
                index=op.index if op else None,
                tensor=tensor.name if tensor else "",
                layer=(model.layer_of(named) or public.get(named, "")) if named else "",
                what=breach.what,
                received=breach.received,
                expected=breach.expected,
            )


def each_op(find: Callable[[Op], Iterator[OpBreach]]) -> Find:
    """Apply a test for one op to every op of the file."""
    return lambda model: (breach for op in model.ops for breach in find(op))


class Operand(NamedTuple):
    """A tensor that an op reads or writes. ``role`` is its position, such as "input 0" or "output"."""

    op: Op
    role: str
    tensor: Tensor


def activations(model: Model) -> Iterator[Operand]:
    """Each activation that an op of the specification reads or writes as data, once. Includes constant operands."""
    seen: set[Tensor] = set()
    for op in model.ops:
        for place in (*data(op, int8_spec.ACTIVATIONS.get(op.name)), *outputs(op)):
            if place.tensor not in seen:
                seen.add(place.tensor)
                yield place


def data(op: Op, slots: int8_spec.Slots | None) -> list[Operand]:
    """Inputs of an op at the given positions, without omitted optional inputs. An empty list when slots is None."""
    if slots is None:
        return []
    chosen = slots or range(len(op.inputs))
    found = ((slot, op.inputs[slot]) for slot in chosen if slot < len(op.inputs))
    return [Operand(op, f"input {slot}", tensor) for slot, tensor in found if tensor is not None]


def outputs(op: Op) -> list[Operand]:
    """Outputs of an op; an empty list for an op that is not in the specification."""
    if op.name not in int8_spec.ACTIVATIONS:
        return []
    many = len(op.outputs) > 1
    return [Operand(op, f"output {i}" if many else "output", tensor) for i, tensor in enumerate(op.outputs)]


def public_names(model: Model) -> dict[Tensor, str]:
    """Names of graph inputs and outputs in the signatures. Tensors without a signature are not included."""
    sides = (side for signature in model.signatures for side in (signature.inputs, signature.outputs))
    return {tensor: name for side in sides for name, tensor in side.items()}


def number(value: float) -> str:
    """The shortest text that identifies this float32: equal texts mean equal bits."""
    with np.errstate(over="ignore"):
        return str(np.float32(value))


def parameters(tensor: Tensor) -> str:
    """Scale and zero point of a tensor as text."""
    if tensor.scale is None:
        return f"per channel ({len(tensor.scales)} scales)" if tensor.scales else "not quantized"
    return pair(tensor.scale, tensor.zero_point or 0)


def pair(scale: float, zero_point: int) -> str:
    return f"scale {number(scale)}, zero point {zero_point}"
