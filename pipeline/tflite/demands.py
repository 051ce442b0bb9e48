"""What a file demands of the runtime that is to run it: ops, their versions, the types of their data, shapes."""

from pipeline.tflite.graph import Op
from pipeline.tflite.model import Model


def op_versions(model: Model) -> dict[str, int]:
    """The highest version of each op that occurs. A runtime knows an op up to some version."""
    versions: dict[str, int] = {}
    for op in model.ops:
        versions[op.name] = max(op.version, versions.get(op.name, 0))
    return dict(sorted(versions.items()))


def op_dtypes(model: Model) -> dict[str, tuple[str, ...]]:
    """The kinds of data that each op computes on, such as ``int8``, or ``int8xint4`` for input and weights."""
    kinds: dict[str, set[str]] = {}
    for op in model.ops:
        kinds.setdefault(op.name, set()).update(_kind(op))
    return {name: tuple(sorted(found)) for name, found in sorted(kinds.items())}


def dynamic(model: Model) -> tuple[str, ...]:
    """Names and shapes of the tensors with a dimension that the file leaves open (-1); none for constants."""
    return tuple(
        f"{tensor.name} {'x'.join(map(str, tensor.shape_signature))}"
        for graph in model.subgraphs
        for tensor in graph.tensors
        if -1 in tensor.shape_signature and not tensor.constant
    )


def _kind(op: Op) -> set[str]:
    """By the first input that is computed, because kernels choose by it; by the output of an op that reads nothing."""
    computed = (tensor for tensor in op.reads if not tensor.constant)
    data = next(iter((*computed, *op.reads, *op.outputs)), None)
    return {"x".join(tensor.dtype.lower() for tensor in (data, *op.weights[:1]))} if data else set()
