"""Replace ops that compute a function of one int8 tensor by one int8 op, or by ops that look the result up in a table.

No op of TensorFlow Lite applies a table of int8 values to int8 values. So the values are converted to positions in the
table (CAST to int32, then ADD 128), which GATHER looks up. LiteRT, its reference kernels and TFLite Micro have these
three ops for these types and give equal results. The positions need four bytes each while the ops run.
"""

from collections.abc import Collection, Mapping, Sequence
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import tflite
from pipeline.tflite import edit
from pipeline.tflite.pointwise import Chain

CODES = np.arange(-128, 128, dtype=np.int8)  # every int8 value, in the order of a table's entries
FIRST = 128  # position of the value 0
# Ops outside of `PORTABLE` that have an int8 kernel where a file is to run. The reference kernels lack ELU, but no
# product runs on these: LiteRT and TFLite Micro have it, and it needs a quarter of a table's memory.
KERNELS = {"all": frozenset({"ELU"}), "litert": frozenset({"ELU", "EXP", "GELU", "RELU6"})}


def direct(chain: Chain, native: Collection[str]) -> bool:
    """Whether a single op with an int8 kernel computes the chain; native: names of such ops."""
    return [op.name in native for op in chain.computing] == [True]


def replaced(content: bytes, chains: Mapping[Chain, NDArray[np.int8] | None]) -> bytes:
    """The bytes of a file in which each chain of its first subgraph is one op, or a table.

    chains: chain -> its table (256,), the result for each value of `CODES`; None for a chain that is `direct`.
    """
    file = edit.unpacked(content)
    graph, model = file.subgraphs[0], tflite.read(content)
    gone = {op.index for chain in chains for op in chain.ops}
    kept = _kept(model, chains)
    ends = {chain.ops[-1].index: (chain, table) for chain, table in chains.items()}
    written = []
    for index, op in enumerate(list(graph.operators)):
        if index not in gone or index in kept:
            written.append(op)
        if index in ends:
            chain, table = ends[index]
            result, after = _result(file, chain)
            made = [_direct(file, chain, result)] if table is None else _lookup(file, chain, result, table)
            written += [*made, *after]
    graph.operators = written
    edit.sweep(file)
    return edit.packed(file)


def _kept(model: tflite.Model, chains: Mapping[Chain, Any]) -> set[int]:
    """Indices of the ops in chains whose result something else needs too."""
    ops = model.subgraphs[0].ops
    ends = {chain.ops[-1].index for chain in chains}
    alive = {*model.outputs, *(chain.source for chain in chains)}
    kept: set[int] = set()
    inside = {op.index for chain in chains for op in chain.ops}
    for op in reversed(ops):
        if op.index in ends or (op.index in inside and alive.isdisjoint(op.outputs)):
            continue
        alive |= set(op.reads)
        kept |= {op.index}
    return kept


def _result(file: Any, chain: Chain) -> tuple[int, list[Any]]:
    """The index of the chain's result in the shape of its source, and the op that reshapes it, if one has to.

    It has the name of what the last op computes, and with it the name of its layer, unless apps see it.
    """
    from ai_edge_litert import schema_py_generated as schema

    source, result, graph = chain.source, chain.result, file.subgraphs[0]
    name = chain.computing[-1].outputs[0].name
    if source.shape == result.shape:
        if result.index not in list(graph.outputs):
            graph.tensors[result.index].name = name.encode()
        return result.index, []
    shape = np.array(result.shape, "<i4")
    wanted = edit.tensor(file, f"tfl.shape{result.index}", "INT32", shape.shape, shape)
    computed = edit.tensor(file, name, "INT8", source.shape)
    graph.tensors[computed].quantization = graph.tensors[result.index].quantization
    return computed, [edit.operator(file, schema.BuiltinOperator.RESHAPE, [computed, wanted], [result.index])]


def _direct(file: Any, chain: Chain, result: int) -> Any:
    """The only computing op of the chain, from int8 to int8."""
    op = copy(file.subgraphs[0].operators[chain.computing[0].index])  # the float op stays, if its result is needed
    op.inputs, op.outputs = [chain.source.index], [result]
    return op


def _lookup(file: Any, chain: Chain, result: int, table: NDArray[np.int8]) -> Sequence[Any]:
    """The ops that look up the chain's result."""
    from ai_edge_litert import schema_py_generated as schema

    name = f"tfl.table{result}"  # not the layer's name: these are steps inside it
    wide = edit.tensor(file, f"{name}_wide", "INT32", chain.source.shape)
    position = edit.tensor(file, f"{name}_position", "INT32", chain.source.shape)
    first = edit.tensor(file, f"{name}_first", "INT32", [1], np.array([FIRST], "<i4"))
    entries = edit.tensor(file, name, "INT8", [len(table)], table)
    file.subgraphs[0].tensors[entries].quantization = file.subgraphs[0].tensors[result].quantization
    cast, add, gather = schema.CastOptionsT(), schema.AddOptionsT(), schema.GatherOptionsT()
    cast.inDataType, cast.outDataType = schema.TensorType.INT8, schema.TensorType.INT32
    kinds, options = schema.BuiltinOperator, schema.BuiltinOptions
    return [
        edit.operator(file, kinds.CAST, [chain.source.index], [wide], cast, options.CastOptions),
        edit.operator(file, kinds.ADD, [wide, first], [position], add, options.AddOptions),
        edit.operator(file, kinds.GATHER, [entries, position], [result], gather, options.GatherOptions, 2),
    ]
