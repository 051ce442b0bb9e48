"""Peak memory of activations, from the graph alone."""

from itertools import accumulate

from pipeline.tflite.graph import Subgraph, Tensor


def peak_bytes(graph: Subgraph) -> int:
    """Largest sum of the bytes of live, non-constant tensors while an op runs, over the order of the ops.

    A tensor lives from the op that writes it (a graph input: from the first op) to the last op that reads it (a graph
    output: to the last op). Variables live throughout. No padding, no scratch buffers, no runtime structures, and a
    subgraph that another one runs counts alone: it is a lower bound for any arena. Decoded float16 weights count, as
    they are written by a DEQUANTIZE.
    """
    end = max(len(graph.ops) - 1, 0)
    born, dies = _lives(graph, end)
    change = [0] * (end + 2)
    for tensor, first in born.items():
        change[first] += tensor.bytes
        change[dies.get(tensor, first) + 1] -= tensor.bytes
    return max(accumulate(change))


def _lives(graph: Subgraph, end: int) -> tuple[dict[Tensor, int], dict[Tensor, int]]:
    """The index of the op at which each tensor is first and last there."""
    born, dies = dict.fromkeys(graph.inputs, 0), dict[Tensor, int]()
    for index, op in enumerate(graph.ops):
        for tensor in (*op.reads, *op.outputs):
            if not tensor.constant:
                born.setdefault(tensor, 0 if tensor.variable else index)
                dies[tensor] = end if tensor.variable else index
    for tensor in graph.outputs:
        if not tensor.constant:
            born.setdefault(tensor, 0)
            dies[tensor] = end
    return born, dies
