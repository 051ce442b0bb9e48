"""Mend scales in an int8 file that must be equal and that TensorFlow's converter (2.21.0) sets apart.

The inputs of a CONCATENATION must have equal scales. Where it reads an LSTM, as behind a Bidirectional layer, the
converter changes the scale of that tensor alone (rule R9), and every value is off by a factor:

* The kernel of UNIDIRECTIONAL_SEQUENCE_LSTM computes one quantity that has three tensors: what a step gives (the last
  of the op's intermediates, whose scale LiteRT writes by), the state that the next step reads (input 18, whose scale
  TFLite Micro writes by), and the output (lite/kernels/unidirectional_sequence_lstm.cc).
* REVERSE_V2 moves bytes, so input and output have one scale.
"""

from typing import Any

from pipeline import tflite
from pipeline.tflite import edit

LSTM, REVERSE, STATE = "UNIDIRECTIONAL_SEQUENCE_LSTM", "REVERSE_V2", 18
_INTERMEDIATES = 5  # of an int8 LSTM


def mended(content: bytes) -> bytes:
    """The file in which these scales are equal; a QUANTIZE op gives each result the scale that its readers ask for."""
    if not {op.name for op in tflite.read(content).ops} & {LSTM, REVERSE}:
        return content
    mending = _Mending(content)
    return edit.packed(mending.file) if mending.changed else content


class _Mending:
    """One file, whose first subgraph is written again op by op."""

    def __init__(self, content: bytes) -> None:
        from ai_edge_litert.schema_py_generated import BuiltinOperator

        self.file, self.changed = edit.unpacked(content), False
        self.graph = self.file.subgraphs[0]
        self.written: list[Any] = []
        rules = {BuiltinOperator.UNIDIRECTIONAL_SEQUENCE_LSTM: self._lstm, BuiltinOperator.REVERSE_V2: self._reverse}
        for op in self.graph.operators:
            rule = rules.get(self.file.operatorCodes[op.opcodeIndex].builtinCode)
            if rule:
                rule(op)
            else:
                self.written.append(op)
        self.graph.operators = self.written

    def _lstm(self, op: Any) -> None:
        self.written.append(op)
        if op.intermediates is None or len(op.intermediates) != _INTERMEDIATES:
            return
        step, state, output = (self.graph.tensors[i] for i in (op.intermediates[-1], op.inputs[STATE], op.outputs[0]))
        if not _equal(step, state):
            self.changed, state.quantization = True, step.quantization
        if not _equal(step, output):
            new = self._like(output, step)
            self._quantize(new, int(op.outputs[0]))
            op.outputs = [new]

    def _reverse(self, op: Any) -> None:
        source, output = self.graph.tensors[op.inputs[0]], self.graph.tensors[op.outputs[0]]
        if source.quantization is not None and source.quantization.scale is not None and not _equal(source, output):
            new = self._like(source, output)
            self._quantize(int(op.inputs[0]), new)
            op.inputs = [new, *op.inputs[1:]]
        self.written.append(op)

    def _like(self, tensor: Any, scaled: Any) -> int:
        """Add an int8 tensor of that shape, with the scale of another one."""
        new = edit.tensor(self.file, f"{tensor.name.decode()}_rescaled", "INT8", tensor.shape)
        self.graph.tensors[new].quantization = scaled.quantization
        return new

    def _quantize(self, source: int, result: int) -> None:
        from ai_edge_litert.schema_py_generated import BuiltinOperator

        self.changed = True
        self.written.append(edit.operator(self.file, BuiltinOperator.QUANTIZE, [source], [result], version=2))


def _equal(one: Any, other: Any) -> bool:
    """Whether two tensors have one scale and zero point."""
    a, b = one.quantization, other.quantization
    return bool(a.scale[0] == b.scale[0] and a.zeroPoint[0] == b.zeroPoint[0])
