"""What a rule is, and what it yields."""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import numpy as np

from pipeline.tflite import int8_spec
from pipeline.tflite.graph import Op, Tensor
from pipeline.tflite.model import Model
from pipeline.tflite.names import layer_name
from pipeline.verify.model_facts import Breach

Severity = Literal["fail", "warn", "info"]

COMPUTED = ("INT8", "INT16")  # types of activations inside of the graph


class OpBreach(NamedTuple):
    """What a rule yields: ``what`` is ``received``, should be ``expected``. Without an op it is the graph's.

    severity  instead of the rule's own
    """

    op: Op | None
    tensor: Tensor | None
    what: str
    received: str
    expected: str
    severity: Severity | None = None


Find = Callable[[Model], Iterator[OpBreach]]


class Rule(NamedTuple):
    """One sentence of the specification that can be tried on a file."""

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
                layer=(layer_name(named.name) or public.get(named, "")) if named else "",
                what=breach.what,
                received=breach.received,
                expected=breach.expected,
            )


def each_op(find: Callable[[Op], Iterator[OpBreach]]) -> Find:
    """A rule about single ops, as one about the file."""
    return lambda model: (breach for op in model.ops for breach in find(op))


class Operand(NamedTuple):
    """A tensor, and where it was met: ``role`` is "input 0" or "output"."""

    op: Op
    role: str
    tensor: Tensor


def activations(model: Model) -> Iterator[Operand]:
    """Every activation that an op of the specification reads or writes as data, once; constant operands too."""
    seen: set[Tensor] = set()
    for op in model.ops:
        for place in (*data(op, int8_spec.ACTIVATIONS.get(op.name)), *outputs(op)):
            if place.tensor not in seen:
                seen.add(place.tensor)
                yield place


def data(op: Op, slots: int8_spec.Slots | None) -> list[Operand]:
    """The inputs of an op in those positions; none for None. Inputs that are left out don't count."""
    if slots is None:
        return []
    chosen = slots or range(len(op.inputs))
    found = ((slot, op.inputs[slot]) for slot in chosen if slot < len(op.inputs))
    return [Operand(op, f"input {slot}", tensor) for slot, tensor in found if tensor is not None]


def outputs(op: Op) -> list[Operand]:
    """The outputs of an op that the specification knows."""
    if op.name not in int8_spec.ACTIVATIONS:
        return []
    many = len(op.outputs) > 1
    return [Operand(op, f"output {i}" if many else "output", tensor) for i, tensor in enumerate(op.outputs)]


def public_names(model: Model) -> dict[Tensor, str]:
    """Graph inputs and outputs as the signatures call them; what has no signature keeps its own name."""
    sides = (side for signature in model.signatures for side in (signature.inputs, signature.outputs))
    return {tensor: name for side in sides for name, tensor in side.items()}


def number(value: float) -> str:
    """The shortest text that is this float32 and no other one: equal texts are equal bits."""
    with np.errstate(over="ignore"):
        return str(np.float32(value))


def parameters(tensor: Tensor) -> str:
    """Scale and zero point as text."""
    if tensor.scale is None:
        return f"per channel ({len(tensor.scales)} scales)" if tensor.scales else "not quantized"
    return pair(tensor.scale, tensor.zero_point or 0)


def pair(scale: float, zero_point: int) -> str:
    return f"scale {number(scale)}, zero point {zero_point}"
