"""Determine the quantization of a file as one word, from the types of its tensors and not from its file name.

::

    float32      float activations and weights; complex64 inside, as an FFT has it, does not count
    float16      float16 weights with a DEQUANTIZE, float32 activations
    weight_only  integer weights with a DEQUANTIZE, float activations
    dynamic      integer weights, float activations that the kernels quantize at run time ("hybrid" kernels)
    int8         int8 activations and weights
    int8x4       int8 activations, 4-bit weights
    int16x8      int16 activations, int8 weights
    uint8        uint8 activations and weights, as before TensorFlow 2
    mixed        more than one of these
    none         no op uses float or quantized data

A QUANTIZE or DEQUANTIZE at an input or output of the graph does not change the word: an "int8" file may take and
return float32 or uint8. See ``integer_only`` and the dtypes of inputs and outputs for that.
"""

from collections.abc import Iterable, Sequence

from pipeline.tflite.graph import BITS, FLOATS, Op, Signature, Subgraph
from pipeline.tflite.lut import DECODE


def entries(subgraphs: Sequence[Subgraph], signatures: Iterable[Signature]) -> set[int]:
    """Return the indices of the subgraphs that an app can call: those of the signatures, and the first one."""
    return {subgraphs[0].index, *(signature.subgraph for signature in signatures)}


def quantization(subgraphs: Sequence[Subgraph], signatures: Sequence[Signature]) -> str:
    """Return the quantization of a file; see the module's docstring for the words."""
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
    """Return the ops that convert between the caller's type and the graph's type."""
    outside = {*graph.inputs, *graph.outputs}
    translators = (op for op in graph.ops if op.name in ("QUANTIZE", "DEQUANTIZE"))
    return [op for op in translators if outside.intersection(op.reads + op.outputs)]


def _activations(op: Op) -> set[str]:
    """Return the types of the float or quantized data that an op reads or writes.

    Variables (the cell state of an int8 LSTM is int16), 32-bit integers (indices, accumulators) and weights that TFLite
    Micro decodes do not count.
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
    real = {dtype for dtype in activations if not dtype.startswith("COMPLEX")} or activations  # of an FFT, in between
    return real.pop().lower() if len(real) == 1 else "mixed"


def _of_integer(ops: Sequence[Op], activations: set[str]) -> str:
    constants = {tensor.dtype for op in ops for tensor in op.trained}
    if len(activations) > 1 or constants & FLOATS:
        return "mixed"
    activation = activations.pop().lower()
    weights = {BITS[tensor.dtype] for op in ops for tensor in op.weights}
    if not weights or weights == {BITS[activation.upper()]}:
        return activation
    return f"{activation}x{min(weights)}"
