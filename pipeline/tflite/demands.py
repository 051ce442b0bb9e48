"""What a file requires of a runtime and of its caller: op versions, types of ops, dynamic shapes, and ids."""

from collections.abc import Iterator

from pipeline.tflite.graph import Op, Tensor
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


# Ops that look ids up in the rows of a table: places of the ids and of the table among the inputs
_LOOK_UPS = {"GATHER": (1, 0), "EMBEDDING_LOOKUP": (0, 1)}
_SAME = frozenset({"RESHAPE", "SQUEEZE", "EXPAND_DIMS", "CAST", "TRANSPOSE", "STRIDED_SLICE", "SLICE"})


def ids(model: Model) -> int | None:
    """Return how many ids the only input of a file can be, as it only looks rows of tables up; None for quantities."""
    if len(model.inputs) != 1 or model.inputs[0].dtype not in ("INT32", "INT64") or model.inputs[0].quantized:
        return None
    found = list(_rows(model, model.inputs[0]))
    known = [rows for rows in found if rows]
    return min(known) if known and len(known) == len(found) else None


def _rows(model: Model, tensor: Tensor) -> Iterator[int]:
    """Yield the number of rows of each constant table that a tensor's values are looked up in; 0 for any other use."""
    for op in model.subgraphs[0].ops:
        if tensor not in op.inputs:
            continue
        place, table = _LOOK_UPS.get(op.name, (-1, -1))
        if op.inputs.index(tensor) == place and op.reads[table].constant and op.reads[table].shape:
            yield op.reads[table].shape[0]
        elif op.name in _SAME and op.outputs and not op.outputs[0].floating:
            yield from _rows(model, op.outputs[0])
        else:
            yield 0


def _kind(op: Op) -> set[str]:
    """Return the type of an op: that of its first non-constant input, by which kernels are selected, and its weights'.

    For an op without non-constant inputs it is the first input's type, and without any input the output's.
    """
    computed = (tensor for tensor in op.reads if not tensor.constant)
    data = next(iter((*computed, *op.reads, *op.outputs)), None)
    return {"x".join(tensor.dtype.lower() for tensor in (data, *op.weights[:1]))} if data else set()
