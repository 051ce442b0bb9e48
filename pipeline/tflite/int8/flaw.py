"""What a rule is, and what it yields."""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import numpy as np

from pipeline.facts import Finding
from pipeline.tflite.graph import Op, Tensor
from pipeline.tflite.int8 import spec
from pipeline.tflite.model import Model
from pipeline.tflite.names import layer_name

Severity = Literal["fail", "warn", "info"]

COMPUTED = ("INT8", "INT16")  # types of activations inside of the graph


class Flaw(NamedTuple):
    """What a rule yields: ``what`` is ``received``, should be ``expected``. Without an op it is the graph's.

    severity  instead of the rule's own
    """

    op: Op | None
    tensor: Tensor | None
    what: str
    received: str
    expected: str
    severity: Severity | None = None


Find = Callable[[Model], Iterator[Flaw]]


class Rule(NamedTuple):
    """One sentence of the specification that can be tried on a file."""

    id: str
    says: str
    severity: Severity
    source: str
    find: Find

    def findings(self, model: Model) -> Iterator[Finding]:
        public = public_names(model)
        for flaw in self.find(model):
            op, tensor = flaw.op, flaw.tensor
            named = op.outputs[0] if op and op.outputs else tensor
            yield Finding(
                rule=self.id,
                severity=flaw.severity or self.severity,
                subgraph=op.subgraph if op else tensor.subgraph if tensor else 0,
                op=op.name if op else "",
                index=op.index if op else None,
                tensor=tensor.name if tensor else "",
                layer=(layer_name(named.name) or public.get(named, "")) if named else "",
                what=flaw.what,
                received=flaw.received,
                expected=flaw.expected,
            )


def each_op(find: Callable[[Op], Iterator[Flaw]]) -> Find:
    """A rule about single ops, as one about the file."""
    return lambda model: (flaw for op in model.ops for flaw in find(op))


class Place(NamedTuple):
    """A tensor, and where it was met: ``role`` is "input 0" or "output"."""

    op: Op
    role: str
    tensor: Tensor


def activations(model: Model) -> Iterator[Place]:
    """Every activation that an op of the specification reads or writes as data, once; constant operands too."""
    seen: set[Tensor] = set()
    for op in model.ops:
        for place in (*data(op, spec.ACTIVATIONS.get(op.name)), *outputs(op)):
            if place.tensor not in seen:
                seen.add(place.tensor)
                yield place


def data(op: Op, slots: spec.Slots | None) -> list[Place]:
    """The inputs of an op in those positions; none for None. Inputs that are left out don't count."""
    if slots is None:
        return []
    chosen = slots or range(len(op.inputs))
    found = ((slot, op.inputs[slot]) for slot in chosen if slot < len(op.inputs))
    return [Place(op, f"input {slot}", tensor) for slot, tensor in found if tensor is not None]


def outputs(op: Op) -> list[Place]:
    """The outputs of an op that the specification knows."""
    if op.name not in spec.ACTIVATIONS:
        return []
    many = len(op.outputs) > 1
    return [Place(op, f"output {i}" if many else "output", tensor) for i, tensor in enumerate(op.outputs)]


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
