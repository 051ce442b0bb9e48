"""What a file requires of a runtime: op versions, data types of ops, and dynamic shapes."""

from pipeline.tflite.graph import Op
from pipeline.tflite.model import Model


def op_versions(model: Model) -> dict[str, int]:
    """Return the highest version of each op in the file. A runtime supports an op up to a certain version."""
    versions: dict[str, int] = {}
    for op in model.ops:
        versions[op.name] = max(op.version, versions.get(op.name, 0))
    return dict(sorted(versions.items()))


def op_dtypes(model: Model) -> dict[str, tuple[str, ...]]:
    """Return the data types that each op computes on: ``int8``, or ``int8xint4`` for input and weights."""
    kinds: dict[str, set[str]] = {}
    for op in model.ops:
        kinds.setdefault(op.name, set()).update(_kind(op))
    return {name: tuple(sorted(found)) for name, found in sorted(kinds.items())}


def dynamic(model: Model) -> tuple[str, ...]:
    """Return names and shapes of the non-constant tensors that have a dynamic dimension (-1)."""
    return tuple(
        f"{tensor.name} {'x'.join(map(str, tensor.shape_signature))}"
        for graph in model.subgraphs
        for tensor in graph.tensors
        if -1 in tensor.shape_signature and not tensor.constant
    )


def _kind(op: Op) -> set[str]:
    """Return the type of an op: that of its first non-constant input, by which kernels are selected, and its weights'.

    For an op without non-constant inputs it is the first input's type, and without any input the output's.
    """
    computed = (tensor for tensor in op.reads if not tensor.constant)
    data = next(iter((*computed, *op.reads, *op.outputs)), None)
    return {"x".join(tensor.dtype.lower() for tensor in (data, *op.weights[:1]))} if data else set()
