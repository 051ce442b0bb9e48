"""Rules R1, R11, R13, R14 and R15 for the graph: its types, its shapes and its ops."""

from collections.abc import Iterator

from pipeline.tflite import int8_spec
from pipeline.tflite.graph import Op, Tensor
from pipeline.tflite.model import FloatUse, Model
from pipeline.tflite.quantization import entries
from pipeline.verify.int8.rule import COMPUTED, OpBreach, data, public_names

# Allowed requantizing QUANTIZE ops, and their share of all ops. Converted networks of keras.applications have none.
MANY, STORM = 8, 0.1


def no_floats(model: Model) -> Iterator[OpBreach]:
    """R1: no op reads or writes floating point.

    Allowed are a QUANTIZE of the graph's input and a DEQUANTIZE of its output: they only convert.
    """
    border = set(_border(model))
    uses: dict[Op, FloatUse] = {}
    for use in model.floats():
        op = model.subgraphs[use.subgraph].ops[use.index] if use.index >= 0 else None
        if op is None:
            yield OpBreach(None, None, f"graph {use.role} {use.tensor!r}, whose type", use.dtype, "an integer type")
        elif op not in border:
            uses.setdefault(op, use)
    for op, use in sorted(uses.items(), key=lambda item: item[0].name in int8_spec.BORDER):  # computing ops first
        tensors = op.reads if use.role == "reads" else op.outputs
        tensor = next(tensor for tensor in tensors if tensor.floating)
        origin = f", made by {use.made_by}" if use.role == "reads" else ""
        yield OpBreach(op, tensor, f"type that it {use.role}", f"{use.dtype}{origin}", "an integer type")


def _border(model: Model) -> Iterator[Op]:
    """The QUANTIZE and DEQUANTIZE ops that convert between the caller's data and the graph's own types."""
    called = entries(model.subgraphs, model.signatures)
    for graph in model.subgraphs:
        if graph.index in called:
            taken, returned = set(graph.inputs), set(graph.outputs)
            for op in graph.ops:
                reads = op.name == "QUANTIZE" and taken.intersection(op.reads)
                writes = op.name == "DEQUANTIZE" and returned.intersection(op.outputs)
                if reads or writes:
                    yield op


def plain_answers(op: Op) -> Iterator[OpBreach]:
    """R11: indices, shapes and results of comparisons are plain integers and booleans."""
    allowed = int8_spec.ANSWERS.get(op.name, ())
    for output in op.outputs if allowed else ():
        if output.dtype not in allowed:
            yield OpBreach(op, output, "type of the output", output.dtype, " or ".join(allowed))


def int16_kernels(op: Op) -> Iterator[OpBreach]:
    """R13: ops without an int16 kernel do not read int16."""
    wide = next((tensor for tensor in op.reads[:2] if tensor.dtype == "INT16" and not tensor.variable), None)
    if wide is not None and op.name in int8_spec.NOT_INT16:
        yield OpBreach(op, wide, "type of the activations", "INT16", "INT8, the only one of its quantized kernels")


def static_shapes(model: Model) -> Iterator[OpBreach]:
    """R14: shapes are static. Reports only where a dynamic dimension enters the graph, not every tensor behind it."""
    names = public_names(model)
    for graph in model.subgraphs:
        for tensor in graph.inputs:
            if -1 in tensor.shape_signature:
                what = f"shape of input {names.get(tensor, tensor.name)!r}"
                yield OpBreach(None, tensor, what, _shape(tensor), "static")
        for op in graph.ops:
            opened = next((tensor for tensor in op.outputs if -1 in tensor.shape_signature), None)
            if opened is not None and not any(-1 in tensor.shape_signature for tensor in op.reads):
                yield OpBreach(op, opened, "shape of the output", _shape(opened), "static")


def _shape(tensor: Tensor) -> str:
    return str(tensor.shape_signature)


def foreign_ops(model: Model) -> Iterator[OpBreach]:
    """R15: all ops are built-in. Flex ops, which run TensorFlow's own kernels in float, are failures."""
    for op in model.ops:
        if op.name.startswith("Flex"):
            yield OpBreach(op, None, "op", f"TensorFlow's {op.name}", "a built-in op", "fail")
        elif op.custom:
            yield OpBreach(op, None, "op", f"the custom op {op.name}", "one that the runtime has")


def state(model: Model) -> Iterator[OpBreach]:
    """R15: no op uses variables. A missing call of strip_pruning leaves such ops behind."""
    return _unwanted(model, int8_spec.STATE, "an op without variables")


def control_flow(model: Model) -> Iterator[OpBreach]:
    """R15: no branches and loops."""
    return _unwanted(model, int8_spec.CONTROL, "one graph without branches and loops")


def _unwanted(model: Model, names: frozenset[str], expected: str) -> Iterator[OpBreach]:
    return (OpBreach(op, None, "op", op.name, expected) for op in model.ops if op.name in names)


def requantized(model: Model) -> Iterator[OpBreach]:
    """R15: few QUANTIZE ops convert from one scale to another. Each costs time and rounds once more."""
    ops = list(model.ops)
    count = sum(op.name == "QUANTIZE" and _is_requantize(op) for op in ops)
    most = max(MANY, int(STORM * len(ops)))
    if count > most:
        yield OpBreach(None, None, "number of int to int QUANTIZE", str(count), f"at most {most} of {len(ops)} ops")


def _is_requantize(op: Op) -> bool:
    types = {tensor.dtype for tensor in (*op.reads, *op.outputs)}
    return len(types) == 1 and types <= {*COMPUTED}


def inner_dequantize(model: Model) -> Iterator[OpBreach]:
    """R15: no DEQUANTIZE inside the graph, because the ops behind it compute in float."""
    border = set(_border(model))
    for op in model.ops:
        if op.name == "DEQUANTIZE" and op not in border:
            read = next((place.tensor for place in data(op, (0,))), None)
            yield OpBreach(op, read, "op", "a DEQUANTIZE inside of the graph", "at its border only")
