"""Compute the functions of a file's int8 tensors that have no portable int8 kernel as one op or one table each."""

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import tflite
from pipeline.keras.conversion.request import Kernels
from pipeline.tflite import edit, tables
from pipeline.tflite.pointwise import Chain, chains, uniform
from pipeline.tflite.values import dequantize, quantize
from pipeline.verify.interpreters import litert


def in_integers(content: bytes, kernels: Kernels, stay: Collection[int], trained: bool) -> bytes:
    """The bytes of an int8 file without chains of ops that compute a function in float, or on LiteRT alone.

    kernels  as in `Request`
    stay     indices of ops of the first subgraph that stay as they are
    trained  whether the ranges of its tensors were trained
    """
    model = tflite.read(content)
    native = tables.KERNELS[kernels]
    found = chains(model.subgraphs[0], stay, native, trained)
    if not found:
        return content
    made = {each: None if tables.direct(each, native) else table(content, each) for each in found}
    return tables.replaced(content, made)


def table(content: bytes, chain: Chain) -> NDArray[np.int8]:
    """The result of a chain of the file (256,) for each value of `tables.CODES`, rounded once.

    Where the function has no value, as the logarithm of a negative number, it is that of the nearest value that has
    one: calibration never saw these.
    """
    source, result = chain.source, chain.result
    x = dequantize(tables.CODES, source.scale or 0.0, source.zero_point or 0)
    y = litert.run(_in_float(content, chain), x[np.newaxis], "builtin")[0]
    valid = np.flatnonzero(~np.isnan(y))
    nearest = np.abs(np.arange(len(y))[:, np.newaxis] - valid).argmin(axis=1) if len(valid) else 0
    known = y[valid][nearest] if len(valid) else np.zeros_like(y)
    return quantize(known, result.scale or 1.0, result.zero_point or 0, "int8").astype(np.int8)


def _in_float(content: bytes, chain: Chain) -> bytes:
    """A file with the ops of a chain alone, in float, for 256 values (1, 256). LiteRT's kernels define the ops."""
    from ai_edge_litert import schema_py_generated as schema

    file = edit.unpacked(content)
    graph, size = file.subgraphs[0], len(tables.CODES)
    old, graph.tensors, written = list(graph.operators), [], []
    file.signatureDefs, file.metadata, file.subgraphs = [], [], [graph]
    place: dict[tflite.Tensor, int] = {chain.source: edit.tensor(file, "x", "FLOAT32", [1, size])}

    def index(tensor: tflite.Tensor) -> int:
        if tensor not in place:
            dtype = "FLOAT32" if tensor.quantized else tensor.dtype
            values = np.full((1, size), _real(tensor).reshape(-1)[0]) if uniform(tensor) else None
            place[tensor] = edit.tensor(file, f"t{tensor.index}", dtype, [1, size], values)
        return place[tensor]

    for op in chain.ops:
        if op not in chain.computing:
            place[op.outputs[0]] = index(op.reads[0])
            continue
        each = old[op.index]
        each.inputs, each.outputs = [index(tensor) for tensor in op.reads], [index(op.outputs[0])]
        if each.builtinOptionsType == schema.BuiltinOptions.CastOptions:
            types = [graph.tensors[i].type for i in (*each.inputs, *each.outputs)]
            each.builtinOptions.inDataType, each.builtinOptions.outDataType = types
        written.append(each)
    graph.operators, graph.inputs, graph.outputs = written, [place[chain.source]], [place[chain.result]]
    edit.sweep(file)
    return edit.packed(file)


def _real(tensor: tflite.Tensor) -> NDArray[Any]:
    """The real values of a constant, float32 where it is quantized."""
    values = tensor.data()
    return dequantize(values, tensor.scale, tensor.zero_point or 0) if tensor.scale else values
