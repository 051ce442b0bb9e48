"""What kind of quantization a file really has: one word, read from its tensors and never from its name.

::

    float32      float activations and weights
    float16      float16 weights behind a DEQUANTIZE, float32 activations
    weight_only  integer weights behind a DEQUANTIZE, float activations
    dynamic      integer weights, float activations that the kernels quantize as they run ("hybrid" kernels)
    int8         int8 activations and weights
    int8x4       int8 activations, 4 bit weights
    int16x8      int16 activations, int8 weights
    uint8        uint8 activations and weights, as before TensorFlow 2
    mixed        more than one of these
    none         no op works on float or quantized data

A QUANTIZE or DEQUANTIZE at the graph's own inputs and outputs does not change the word: an "int8" file may take and
return float32 or uint8. Whether it does is ``integer_only`` and the dtype of its inputs and outputs.
"""

from collections.abc import Iterable, Sequence

from pipeline.tflite.graph import BITS, FLOATS, Op, Signature, Subgraph
from pipeline.tflite.lut import DECODE


def entries(subgraphs: Sequence[Subgraph], signatures: Iterable[Signature]) -> set[int]:
    """Subgraphs that an app calls: those of the signatures, and the first one."""
    return {subgraphs[0].index, *(signature.subgraph for signature in signatures)}


def quantization(subgraphs: Sequence[Subgraph], signatures: Sequence[Signature]) -> str:
    called = entries(subgraphs, signatures)
    ops = [op for graph in subgraphs for op in graph.ops]
    border = {op for graph in subgraphs if graph.index in called for op in _border(graph)}
    inner = [op for op in ops if op not in border] or ops
    activations = {dtype for op in inner for dtype in _activations(op)}
    if not activations:
        return "none"
    if activations <= FLOATS:
        return _of_float(inner, activations)
    return _of_integer(inner, activations)


def _border(graph: Subgraph) -> list[Op]:
    """The ops that only translate between the caller's type and the graph's own."""
    outside = {*graph.inputs, *graph.outputs}
    translators = (op for op in graph.ops if op.name in ("QUANTIZE", "DEQUANTIZE"))
    return [op for op in translators if outside.intersection(op.reads + op.outputs)]


def _activations(op: Op) -> set[str]:
    """Types of the float or quantized data that it reads or writes.

    Not counted: variables (an int8 LSTM's cell state is int16), 32 bit integers (indices, accumulators), and weights
    that TFLite Micro decodes.
    """
    if op.name == DECODE:
        return set()
    weights = {tensor for tensor, source in zip(op.inputs, op.sources, strict=False) if source in op.weights}
    tensors = (t for t in op.reads + op.outputs if not t.constant and not t.variable and t not in weights)
    return {t.dtype for t in tensors if t.floating or (t.quantized and BITS[t.dtype] <= 16)}


def _of_float(ops: Iterable[Op], activations: set[str]) -> str:
    constants = [(tensor.dtype, tensor in op.inputs) for op in ops for tensor in op.trained]
    low = {direct for dtype, direct in constants if dtype not in FLOATS and BITS[dtype] <= 8}
    if low:
        return "dynamic" if True in low else "weight_only"
    if ("FLOAT16", False) in constants:
        return "float16"
    return activations.pop().lower() if len(activations) == 1 else "mixed"


def _of_integer(ops: Sequence[Op], activations: set[str]) -> str:
    constants = {tensor.dtype for op in ops for tensor in op.trained}
    if len(activations) > 1 or constants & FLOATS:
        return "mixed"
    activation = activations.pop().lower()
    weights = {BITS[tensor.dtype] for op in ops for tensor in op.weights}
    if not weights or weights == {BITS[activation.upper()]}:
        return activation
    return f"{activation}x{min(weights)}"
