"""Find the ops that compute one function of one int8 tensor, value by value, where some op has no portable int8 kernel.

TensorFlow's converter quantizes each op by itself. An op without an int8 form stays float between DEQUANTIZE and
QUANTIZE (ELU, SIN). Others become int8 ops that LiteRT alone has (GELU, EXP), or a chain in which each step is rounded,
such as log(exp(x) + 1) for softplus, with a step as wide as exp(x) reaches. Whatever the ops are, an int8 tensor has
256 values, so a function of it is a table of 256 entries that is rounded once.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.tflite.graph import Op, Subgraph, Tensor
from pipeline.tflite.int8_spec import BORDER, FIXED

# Ops whose result at a position depends on the inputs at this position alone, and that have int8 kernels in LiteRT, in
# its reference kernels and in TFLite Micro; tested with ai-edge-litert 2.3 and tflite-micro 0.dev20261023.
PORTABLE = frozenset({
    *BORDER, "ABS", "ADD", "EQUAL", "GREATER", "GREATER_EQUAL", "HARD_SWISH", "LEAKY_RELU", "LESS", "LESS_EQUAL",
    "LOGICAL_AND", "LOGICAL_NOT", "LOGICAL_OR", "LOGISTIC", "MAXIMUM", "MINIMUM", "MUL", "NOT_EQUAL", "PRELU", "RELU",
    "RSQRT", "SELECT_V2", "SQUARED_DIFFERENCE", "SUB", "TANH",
})  # fmt: skip
# The same, but without such kernels in one of the three. TFLite Micro's RELU6 does not rescale to its output's range.
OTHERS = frozenset({
    "CAST", "CEIL", "COS", "DIV", "ELU", "EXP", "FLOOR", "FLOOR_DIV", "FLOOR_MOD", "GELU", "LOG", "NEG", "POW",
    "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "ROUND", "SELECT", "SIGN", "SIN", "SQRT", "SQUARE", "ZEROS_LIKE",
})  # fmt: skip
POINTWISE = PORTABLE | OTHERS
SHAPES = frozenset({"EXPAND_DIMS", "RESHAPE", "SQUEEZE"})  # ops that keep all values in their order


@dataclass(frozen=True, eq=False)
class Chain:
    """Ops that compute `result` from `source`, both int8, value by value. Their shapes can differ, the order does not.

    ops  in running order
    """

    source: Tensor
    result: Tensor
    ops: tuple[Op, ...]

    @property
    def computing(self) -> tuple[Op, ...]:
        """The ops that change real values."""
        return tuple(op for op in self.ops if op.name not in SHAPES.union(BORDER))


Paths = dict[Tensor, frozenset[int]]  # a tensor that a value is a function of -> indices of the ops from it


def chains(
    graph: Subgraph, stay: Collection[int] = (), native: Collection[str] = (), trained: bool = False
) -> list[Chain]:
    """The chains of a graph that compute in float or have an op without a portable int8 kernel, in running order.

    stay     indices of ops that stay as they are, if they change values
    native   names of further ops that have an int8 kernel wherever the file is to run
    trained  whether int8 tensors have ranges that were trained: no chain then reaches across one, because clipping to
             that range is part of what was learnt

    A result is read by an op that is in no chain, or is an output. What is in chains only is needed no more when each
    is replaced by one op.
    """
    return list(_Search(graph, stay, OTHERS.difference(native), trained).found())[::-1]


class _Search:
    """The search for chains in one graph.

    unfit  names of the pointwise ops that have no portable int8 kernel
    paths  what each tensor is a function of
    """

    def __init__(self, graph: Subgraph, stay: Collection[int], unfit: Collection[str], trained: bool) -> None:
        self.graph, self.unfit, self.trained = graph, unfit, trained
        self.paths: dict[Tensor, Paths] = {}
        for op in graph.ops:
            inside = op.name in SHAPES or (op.name in POINTWISE and op.index not in stay)
            if inside and len(op.outputs) == 1:
                self.paths[op.outputs[0]] = self._through(op)

    def _through(self, op: Op) -> Paths:
        """The tensors that the result of an op is a function of, value by value."""
        shapes = op.name in SHAPES
        data = list(op.reads[:1]) if shapes else [tensor for tensor in op.reads if not uniform(tensor)]
        if not data or not (shapes or all(tensor.shape == op.outputs[0].shape for tensor in data)):
            return {}
        each = [{tensor: frozenset[int](), **self.paths.get(tensor, {})} for tensor in data]
        common = [source for source in each[0] if all(source in found for found in each)]
        return {source: frozenset({op.index}).union(*(found[source] for found in each)) for source in common}

    def found(self) -> Iterator[Chain]:
        """Chains from the last to the first, without those whose result only other chains read."""
        alive = set(self.graph.outputs)
        for op in reversed(self.graph.ops):
            if op.outputs and alive.isdisjoint(op.outputs):
                continue
            best = self._best(op.outputs[0]) if op.outputs else None
            alive |= {best.source} if best else set(op.reads)
            if best:
                yield best

    def _best(self, result: Tensor) -> Chain | None:
        """The chain to a tensor that holds most ops without a portable kernel; None if there are none.

        Of these, the longest whose inner results nothing else reads, because it has the fewest roundings; or the
        shortest.
        """
        best, most = None, (0, False, 0)
        for source, indices in self.paths.get(result, {}).items():
            chain = Chain(source, result, tuple(self.graph.ops[index] for index in sorted(indices)))
            worth = sum(map(self._replaces, chain.ops)) if _int8(source) and _int8(result) else 0
            if worth and worth >= most[0] and not (self.trained and self._crosses(chain)):
                private = self._private(chain)
                rank = (worth, private, len(indices) if private else -len(indices))
                best, most = (chain, rank) if rank > most else (best, most)
        return best

    def _replaces(self, op: Op) -> bool:
        """Whether an op computes in float or has no portable int8 kernel."""
        if op.name in SHAPES.union(BORDER):
            return False
        floating = any(tensor.floating for tensor in (*op.reads, *op.outputs))
        return floating or (op.name in self.unfit and not (op.name == "RELU6" and not _rescales(op)))

    def _crosses(self, chain: Chain) -> bool:
        """Whether it reaches across an int8 tensor that neither has the result's range nor that of its specification.

        Such a range can have been trained.
        """
        result = chain.result
        others = (op for op in chain.ops if op.name not in FIXED)
        inner = (t for op in others for t in op.outputs if _int8(t))
        return any((t.scale, t.zero_point) != (result.scale, result.zero_point) for t in inner)

    def _private(self, chain: Chain) -> bool:
        """Whether only ops of the chain read what it computes before its result."""
        inner = {op.outputs[0] for op in chain.ops} - {chain.result}
        others = (op for op in self.graph.ops if op not in chain.ops)
        return inner.isdisjoint({*self.graph.outputs, *(tensor for op in others for tensor in op.reads)})


def _rescales(op: Op) -> bool:
    """Whether an op with one input and one output changes scale or zero point."""
    (before,), (after,) = op.reads, op.outputs
    return (before.scale, before.zero_point) != (after.scale, after.zero_point)


def _int8(tensor: Tensor) -> bool:
    return tensor.dtype == "INT8" and tensor.scale is not None and not tensor.constant


def uniform(tensor: Tensor) -> bool:
    """Whether a tensor is a constant with the same value everywhere."""
    if not tensor.constant or not tensor.elements or tensor.sparse or len(tensor.scales) > 1:
        return False
    values = tensor.data().reshape(-1)
    return bool(np.all(values == values[0]))
