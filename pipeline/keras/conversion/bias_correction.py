"""Bias correction: subtract from the biases the mean shift that rounding causes in each channel of a quantized file.

Nagel et al., https://arxiv.org/abs/1906.04721, section 4.2 and appendix D; Banner et al., https://arxiv.org/abs/1810.05723.

The sum that an op computes before its activation is linear in its input. So the mean of the sum over examples follows
from the mean input, and the shift is E[W_q x_q + b_q] - E[W x + b], with the op's input x_q in the quantized file and x
in the float file. Neither the accumulators nor the activation, which may be fused into the op, are needed. Ops are
corrected in running order, each with the ops before it already corrected.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import tflite
from pipeline.core.progress import Progress
from pipeline.tflite import edit
from pipeline.tflite.accumulator import OPS, Array, constant, mean_sums
from pipeline.tflite.values import real, stored
from pipeline.verify.interpreters import litert

EXAMPLES, BATCH = 128, 16  # largest number of calibration examples, and how many are in memory at once
NEAR = 0.51  # largest distance of a rounded weight from the float weight, in steps of its scale

Sums = dict[int, Array]  # index of an op -> mean of its sums (channels,)


def corrected(
    content: bytes, plain: bytes, x: NDArray[np.float32], report: Callable[[Progress], None]
) -> tuple[bytes, list[dict[str, Any]]]:
    """The bytes of an int8 file with corrected biases, and a report row for each op with weights.

    content  the int8 file
    plain    the same network as a float32 file
    x        calibration examples (n, ...)

    In a row, `shift_before` and `shift` are the largest mean shift of a channel without and with the correction, in
    steps of the scale of the op's output.
    """
    given, reference = _File(content, x[:EXAMPLES]), _File(plain, x[:EXAMPLES])
    twins = _twins(given, reference)
    reasons = {op.index: _unfit(given, op, reference, twins) for op in given.ops}
    places = [index for index, why in reasons.items() if not why]
    sums = reference.sums([twins[place].index for place in places])
    expected = {place: sums[twins[place].index] for place in places}
    now = given
    for done, place in enumerate(places, start=1):
        now = now.shifted(place, expected[place] - now.sums([place])[place])
        report(Progress("layer", done, len(places)))
    before, after = (_most(file.sums(places), expected) for file in (given, now))
    return now.content, [
        _row(op, given.model.layer_of(op.outputs[0]), reasons[op.index], before, after) for op in given.ops
    ]


class _File:
    """A .tflite file and the examples x (n, ...) that it runs on."""

    def __init__(self, content: bytes, x: NDArray[np.float32]) -> None:
        self.content, self.x, self.model = content, x, tflite.read(content)
        graph = self.model.subgraphs[0]
        self.ops = [op for op in graph.ops if op.name in OPS and op.weights]
        self.made = {op.outputs[0]: op.index for op in graph.ops if op.outputs}

    def sums(self, places: Sequence[int]) -> Sums:
        """The mean over examples and positions of the sums that the ops at these indices compute."""
        ops = [self.model.subgraphs[0].ops[place] for place in places]
        options = edit.unpacked(self.content).subgraphs[0].operators
        means = self._means({op.reads[0] for op in ops})
        return {op.index: mean_sums(op, means[op.reads[0]], options[op.index].builtinOptions) for op in ops}

    def _means(self, tensors: Collection[tflite.Tensor]) -> dict[tflite.Tensor, Array]:
        """The mean of the real values of tensors over the examples, without the batch dimension."""
        runner = litert.Runner(self.model, kernels="builtin", keep=True)
        totals = {tensor: np.zeros(tensor.shape[1:]) for tensor in tensors}
        for start in range(0, len(self.x), BATCH):
            batch = self.x[start : start + BATCH]
            written = runner.record(batch)
            for tensor in tensors:
                values = written[self.made[tensor]] if tensor in self.made else stored(batch, tensor)
                totals[tensor] += real(values, tensor).sum(axis=0, dtype=np.float64)
        return {tensor: total / len(self.x) for tensor, total in totals.items()}

    def recordable(self, tensor: tflite.Tensor) -> bool:
        """Whether the tensor's values can be read for each example."""
        port = self.model.inputs[0]
        return tensor.shape[:1] == port.shape[:1] and (tensor in self.made or tensor is port)

    def shifted(self, place: int, shift: Array) -> "_File":
        """The file with `shift` (channels,), in real units, added to the bias of the op at index `place`."""
        bias = _bias(self.model.subgraphs[0].ops[place])
        assert bias is not None
        values, limits = bias.data(), np.iinfo(bias.dtype.lower())
        moved = values + np.round(shift / np.asarray(bias.scales)).astype(np.int64)
        content = _with_constant(self.content, bias, moved.clip(limits.min, limits.max).astype(values.dtype))
        return _File(content, self.x)


def note(rows: Sequence[Mapping[str, Any]]) -> str:
    """A note that summarizes the correction."""
    done = [row for row in rows if row["done"]]
    before, after = (max((row[column] for row in done), default=0.0) for column in ("shift_before", "shift"))
    return (
        f"biases of {len(done)} of {len(rows)} ops with weights corrected: the largest mean shift of a channel went "
        f"from {before:.2f} to {after:.2f} steps of its op's output"
    )


def _with_constant(content: bytes, tensor: tflite.Tensor, values: NDArray[Any]) -> bytes:
    """The file with other values in a constant tensor of the first subgraph. A shared buffer is copied first."""
    from ai_edge_litert.schema_py_generated import BufferT

    model = edit.unpacked(content)
    mine = model.subgraphs[0].tensors[tensor.index]
    if sum(other.buffer == mine.buffer for graph in model.subgraphs for other in graph.tensors) > 1:
        mine.buffer = len(model.buffers)
        model.buffers.append(BufferT())
    model.buffers[mine.buffer].data = np.frombuffer(values.tobytes(), np.uint8)
    return edit.packed(model)


def _twins(given: _File, reference: _File) -> dict[int, tflite.Op]:
    """Index of each op -> the op of the float file with the same weights before rounding. Both are in running order."""
    rest, found = list(reference.ops), {}
    for op in given.ops:
        twin = next((other for other in rest if _alike(op, other)), None)
        if twin is not None:
            rest.remove(twin)
            found[op.index] = twin
    return found


def _alike(op: tflite.Op, plain: tflite.Op) -> bool:
    (weights, *_), (others, *_) = op.weights, plain.weights
    same = op.name == plain.name and weights.shape == others.shape and op.reads[0].shape == plain.reads[0].shape
    if not same or not weights.scales:
        return False
    shape = np.ones(len(weights.shape), int)
    shape[weights.axis] = len(weights.scales)
    steps = np.reshape(weights.scales, shape)
    return bool(np.all(np.abs(constant(weights) - constant(others)) <= NEAR * steps))


def _bias(op: tflite.Op) -> tflite.Tensor | None:
    return op.inputs[2] if len(op.inputs) > 2 else None


def _unfit(given: _File, op: tflite.Op, reference: _File, twins: Mapping[int, tflite.Op]) -> str:
    """Why the bias of an op is not corrected; "" if it is."""
    bias = _bias(op)
    if not op.weights[0].scales or not op.reads[0].quantized:
        return "computes in floats"
    if op.index not in twins:
        return "the float file has no op with these weights"
    if bias is None or not bias.constant or not bias.scales:
        return "has no bias in the file"
    if sum(bias in each.inputs for each in given.model.ops) > 1:
        return "shares its bias with another op"
    if not given.recordable(op.reads[0]) or not reference.recordable(twins[op.index].reads[0]):
        return "reads what can't be recorded"
    return ""


def _most(sums: Sums, expected: Sums) -> dict[int, float]:
    """Index of each op -> the largest shift of a channel, in real units."""
    return {place: float(np.abs(values - expected[place]).max()) for place, values in sums.items()}


def _row(
    op: tflite.Op, layer: str, why: str, before: Mapping[int, float], after: Mapping[int, float]
) -> dict[str, Any]:
    tensor = op.outputs[0]
    row = {"layer": layer or tensor.name, "kind": op.name, "done": not why, "why": why}
    step = tensor.scale or 1.0
    return row if why else row | {"shift_before": before[op.index] / step, "shift": after[op.index] / step}
