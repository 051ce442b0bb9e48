"""Compute the peak memory of activations from the graph."""

from itertools import accumulate

from pipeline.tflite.graph import Subgraph, Tensor


def peak_bytes(graph: Subgraph) -> int:
    """Return the largest total size, in bytes, of the non-constant tensors that are live while an op runs.

    A tensor is live from the op that writes it (graph inputs: from the first op) to the last op that reads it (graph
    outputs: to the last op). Variables are always live. The result is a lower bound for the arena of any runtime: it
    has no padding, scratch buffers or runtime structures, and a subgraph that another one runs is counted separately.
    Float16 weights that a DEQUANTIZE decodes count as tensors.
    """
    end = max(len(graph.ops) - 1, 0)
    born, dies = _lives(graph, end)
    change = [0] * (end + 2)
    for tensor, first in born.items():
        change[first] += tensor.bytes
        change[dies.get(tensor, first) + 1] -= tensor.bytes
    return max(accumulate(change))


def _lives(graph: Subgraph, end: int) -> tuple[dict[Tensor, int], dict[Tensor, int]]:
    """Return the index of the op at which each tensor is first live, and at which it is last live."""
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
