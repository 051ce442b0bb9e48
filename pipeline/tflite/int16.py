"""Rewrite chosen ops of an int8 file to int16 activations with int8 weights, for ops where 8 bits are too coarse.

TensorFlow's converter quantizes a whole file in one scheme. Here single ops are rewritten to the converter's int16x8
scheme: symmetric int16 activations with steps 256 times finer, unchanged weights, and int64 biases. A QUANTIZE op is
inserted wherever an activation changes its type; consecutive int16 ops need none between them.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np

from pipeline import tflite
from pipeline.core.errors import Fault, StageError
from pipeline.tflite import edit, int8_spec

LEVELS = 32768  # int16 steps on either side of zero
VERSIONS = {"LEAKY_RELU": 2, "QUANTIZE": 2, "TRANSPOSE_CONV": 3}  # op versions for int16; others stay (TensorFlow 2.21)


def widened(content: bytes, chosen: Sequence[tflite.Op]) -> bytes:
    """Return the bytes of an int8 file with the chosen ops of its first subgraph in int16x8.

    Raises StageError for an op that has no int16x8 kernel, or is not int8 in the file.
    """
    model = tflite.read(content)
    for op in (model.subgraphs[0].ops[each.index] for each in chosen):
        if reason := _reason(op):
            rule = f"keep_int16: {next(iter(model.layers_of(op)), op.name)} can't be int16"
            raise StageError(Fault(rule, received=f"{op.name}, {reason}", do="leave it out"))
    file = edit.unpacked(content)
    _Widening(file, model, {op.index for op in chosen}).rewrite()
    return edit.packed(file)


def _reason(op: tflite.Op) -> str:
    """Return why the op can't be int16, or "" if it can."""
    if op.name not in int8_spec.ACTIVATIONS or op.name in int8_spec.NOT_INT16:
        return "which has no int16 kernel"
    if any(tensor.dtype != "INT8" for tensor in (*_activations(op), op.outputs[0], *op.weights)):
        return "which is not int8 in the file"
    return ""


def _activations(op: tflite.Op) -> Iterator[tflite.Tensor]:
    return (tensor for _, tensor in _data(op))


def _data(op: tflite.Op) -> Iterator[tuple[int, tflite.Tensor]]:
    """Yield (input position, tensor) for each activation that an op reads."""
    for slot in int8_spec.ACTIVATIONS[op.name] or range(len(op.inputs)):
        if slot < len(op.inputs) and (tensor := op.inputs[slot]) is not None:
            yield slot, tensor


def _borders(ops: Sequence[tflite.Op], chosen: Collection[int]) -> Iterator[int]:
    """Yield the QUANTIZE and DEQUANTIZE ops to convert too: those between float data and chosen ops only.

    They then convert directly between float and int16.
    """
    made = {tensor: op.index for op in ops for tensor in op.outputs}
    for op in ops:
        readers = {other.index for other in ops if op.outputs[0] in other.reads} if op.name == "QUANTIZE" else set()
        if op.name == "DEQUANTIZE" and made.get(op.reads[0]) in chosen:
            yield op.index
        if readers and readers <= set(chosen) and op.reads[0].floating:
            yield op.index


class _Widening:
    """The rewriting of one file.

    file     schema objects, which are changed
    model    the file before the changes
    chosen   indices of the ops that become int16
    narrow   tensors that some other op, or the caller, still needs as int8
    wide     int8 tensor -> index of the int16 tensor in its place
    """

    def __init__(self, file: Any, model: tflite.Model, chosen: Collection[int]) -> None:
        self.file, self.graph, self.ops = file, file.subgraphs[0], model.subgraphs[0].ops
        self.chosen = {*chosen, *_borders(self.ops, chosen)}
        others = (op for op in self.ops if op.index not in self.chosen)
        self.narrow = {tensor for op in others for tensor in op.reads} | {*model.outputs}
        self.wide: dict[tflite.Tensor, int] = {}
        self.rewritten: list[Any] = []

    def rewrite(self) -> None:
        for op, written in zip(self.ops, list(self.graph.operators), strict=True):
            written.inputs, written.outputs = list(written.inputs), list(written.outputs)
            if op.index not in self.chosen:
                self.rewritten.append(written)
                continue
            self._read_wide(op, written)
            self.rewritten.append(written)
            self._write_wide(op, written)
        self.graph.operators = self.rewritten
        edit.sweep(self.file)

    def _read_wide(self, op: tflite.Op, written: Any) -> None:
        """Change an op to read int16 activations and an int64 bias, and set the options and version for its kernel."""
        for slot, tensor in _data(op):
            if tensor.floating:
                continue
            if tensor not in self.wide:
                self.wide[tensor] = self._constant(tensor) if tensor.constant else self._twin(tensor)
                if not tensor.constant:
                    self.rewritten.append(self._requantize(tensor.index, self.wide[tensor]))
            written.inputs[slot] = self.wide[tensor]
        for product in int8_spec.PRODUCTS.get(op.name, ()):
            data, *rest = (op.inputs[slot] for slot in (product.data, product.bias) if slot < len(op.inputs))
            bias = rest[0] if rest else None
            if bias is not None and data is not None:
                written.inputs[product.bias] = self._bias(bias, data)
        if hasattr(written.builtinOptions, "potScaleInt16"):
            written.builtinOptions.potScaleInt16 = False  # otherwise ADD and SUB need power-of-two scales
        if op.name in VERSIONS:
            code = self.file.operatorCodes[written.opcodeIndex].builtinCode
            written.opcodeIndex = edit.code(self.file, code, VERSIONS[op.name])

    def _write_wide(self, op: tflite.Op, written: Any) -> None:
        for slot, tensor in enumerate(op.outputs):
            if tensor.dtype == "INT8":
                written.outputs[slot] = self.wide[tensor] = self._twin(tensor)
                if tensor in self.narrow:
                    self.rewritten.append(self._requantize(self.wide[tensor], tensor.index))

    def _twin(self, tensor: tflite.Tensor, buffer: int = 0) -> int:
        """Add an int16 tensor in place of an int8 activation and return its index."""
        return self._tensor(tensor, "INT16", [_scale(tensor)], buffer)

    def _constant(self, tensor: tflite.Tensor) -> int:
        """Add an int16 tensor with the same real values as an int8 constant and return its index."""
        real = (tensor.data().astype(np.float64) - (tensor.zero_point or 0)) * (tensor.scale or 0.0)
        stored = np.clip(np.round(real / _scale(tensor)), -LEVELS, LEVELS - 1).astype("<i2")
        return self._twin(tensor, edit.buffer(self.file, stored))

    def _bias(self, bias: tflite.Tensor, data: tflite.Tensor) -> int:
        """Add an int64 bias and return its index. Its scale is the int16 input's scale times the weights' scales."""
        finer = _scale(data) / (data.scale or 1.0)
        stored = np.round(bias.data().astype(np.float64) / finer).astype("<i8")
        return self._tensor(bias, "INT64", [scale * finer for scale in bias.scales], edit.buffer(self.file, stored))

    def _tensor(self, old: tflite.Tensor, dtype: str, scales: Sequence[float], buffer: int) -> int:
        from ai_edge_litert import schema_py_generated as schema

        new, ranges = schema.TensorT(), schema.QuantizationParametersT()
        like = self.graph.tensors[old.index]
        new.name, new.shape, new.hasRank = f"{old.name}_{dtype.lower()}".encode(), like.shape, like.hasRank
        new.shapeSignature, new.type, new.buffer = like.shapeSignature, getattr(schema.TensorType, dtype), buffer
        ranges.scale, ranges.zeroPoint = list(scales), [0] * len(scales)
        new.quantization = ranges
        self.graph.tensors.append(new)
        return len(self.graph.tensors) - 1

    def _requantize(self, source: int, target: int) -> Any:
        from ai_edge_litert.schema_py_generated import BuiltinOperator

        return edit.operator(self.file, BuiltinOperator.QUANTIZE, [source], [target], version=VERSIONS["QUANTIZE"])


def _scale(tensor: tflite.Tensor) -> float:
    """Return the int16 scale for an int8 activation: 32768 steps reach the farther end of its range.

    That end is 128 + |zero point| int8 steps from zero. The scale depends on nothing else, so ops that only move values
    keep equal scales at input and output (rule R9), and the scales 1/256 and 1/128 that the specification fixes for
    int8 become 1/32768 (rule R8).
    """
    return float(np.float32((tensor.scale or 0.0) * (128 + abs(tensor.zero_point or 0)) / LEVELS))
