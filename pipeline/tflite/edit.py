"""Unpack a .tflite file into objects of the generated schema for editing, and pack them into bytes again."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

IDENTIFIER = b"TFL3"  # file_identifier in tensorflow/compiler/mlir/lite/schema/schema.fbs
ALIGNED = 16  # bytes; force_align of Buffer.data in the same file, which the Python packers ignore


def unpacked(content: bytes) -> Any:
    """Return the file as a `ModelT` object, with tables as lists and plain attributes."""
    from ai_edge_litert.tools import flatbuffer_utils

    return flatbuffer_utils.convert_bytearray_to_object(content)


def packed(model: Any) -> bytes:
    """Return the bytes of a `ModelT`, as packed by ai-edge-litert's own writer."""
    from ai_edge_litert.tools import flatbuffer_utils

    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def with_shapes(content: bytes, shapes: Mapping[int, tuple[int, ...]]) -> bytes:
    """Return a copy of the file in which tensors of the first subgraph have these shapes, and none that is open.

    shapes: index of a tensor -> its shape.
    """
    model = unpacked(content)
    for index, shape in shapes.items():
        tensor = model.subgraphs[0].tensors[index]
        tensor.shape, tensor.shapeSignature = list(shape), None
    return packed(model)


def packed_tightly(model: Any) -> bytes:
    """Return the bytes of a `ModelT`, with equal vectors stored once and buffers aligned to 16 bytes.

    The flatbuffer format allows shared vectors, and readers see no difference. It saves 5 % of an int8 ResNet-8, where
    each channel has a zero point of 8 bytes, always zero, in the kernel and again in the bias.
    """
    import flatbuffers

    class Sharing(flatbuffers.Builder):  # type: ignore[misc]  # has no types
        """A builder that returns the offset of an equal vector if it has written one."""

        def CreateNumpyVector(self, x: "np.ndarray[Any, Any]") -> int:  # noqa: N802 (the base's name)
            key = (x.dtype.str, x.tobytes())
            if key not in places:
                if x.dtype == np.uint8:
                    self.Prep(ALIGNED, x.nbytes)
                places[key] = super().CreateNumpyVector(x)
            return places[key]

    places: dict[tuple[str, bytes], int] = {}
    builder = Sharing(1024)  # initial size in bytes; it grows
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def buffer(file: Any, values: "np.ndarray[Any, Any]") -> int:
    """Add a buffer with these values and return its index."""
    from ai_edge_litert import schema_py_generated as schema

    new = schema.BufferT()
    new.data = np.frombuffer(values.tobytes(), np.uint8)
    file.buffers.append(new)
    return len(file.buffers) - 1


def tensor(file: Any, name: str, dtype: str, shape: Sequence[int], values: "np.ndarray[Any, Any] | None" = None) -> int:
    """Add a tensor without a scale to the first subgraph and return its index. values: of a constant."""
    from ai_edge_litert import schema_py_generated as schema

    new = schema.TensorT()
    new.name, new.shape, new.hasRank, new.type = name.encode(), list(shape), True, getattr(schema.TensorType, dtype)
    new.buffer = 0 if values is None else buffer(file, values)  # the format reserves buffer 0 for "no values"
    file.subgraphs[0].tensors.append(new)
    return len(file.subgraphs[0].tensors) - 1


def operator(
    file: Any,
    builtin: int,
    inputs: Sequence[int],
    outputs: Sequence[int],
    options: Any = None,
    kind: int = 0,
    version: int = 1,
) -> Any:
    """A new op of that code and at least that version, which is not in any subgraph yet.

    options, kind: the op's options and their type in the schema's union BuiltinOptions.
    """
    from ai_edge_litert import schema_py_generated as schema

    op = schema.OperatorT()
    op.opcodeIndex = code(file, builtin, version)
    op.inputs, op.outputs, op.builtinOptions, op.builtinOptionsType = list(inputs), list(outputs), options, kind
    return op


def code(file: Any, builtin: int, version: int) -> int:
    """Return the index of an operator code with at least this version; add one if there is none."""
    from ai_edge_litert import schema_py_generated as schema

    for index, each in enumerate(file.operatorCodes):
        if each.builtinCode == builtin and each.version >= version:
            return index
    new = schema.OperatorCodeT()
    new.builtinCode, new.version = builtin, version
    new.deprecatedBuiltinCode = min(builtin, schema.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES)
    file.operatorCodes.append(new)
    return len(file.operatorCodes) - 1


def sweep(file: Any) -> None:
    """Remove unused tensors of the first subgraph, the data of unused buffers, and unused op codes.

    A runtime refuses a file with an op code that it lacks, whether an op uses it or not.
    """
    graph = file.subgraphs[0]
    parts = [graph, *graph.operators]
    lists = [(part, key) for part in parts for key in ("inputs", "outputs", "intermediates") if _filled(part, key)]
    defs = [signature for signature in file.signatureDefs or () if not signature.subgraphIndex]
    ports = [port for signature in defs for port in (*signature.inputs, *signature.outputs)]
    named = {int(i) for part, key in lists for i in getattr(part, key)} | {port.tensorIndex for port in ports}
    used = sorted(named - {-1})
    place = {-1: -1} | {old: new for new, old in enumerate(used)}
    for part, key in lists:
        setattr(part, key, [place[int(i)] for i in getattr(part, key)])
    for port in ports:
        port.tensorIndex = place[port.tensorIndex]
    graph.tensors = [graph.tensors[i] for i in used]
    held = {tensor.buffer for each in file.subgraphs for tensor in each.tensors}
    held |= {entry.buffer for entry in file.metadata or ()}
    for index, buffer in enumerate(file.buffers):
        if index not in held:
            buffer.data = None

    ops = [op for each in file.subgraphs for op in each.operators]
    codes = sorted({op.opcodeIndex for op in ops})
    file.operatorCodes = [file.operatorCodes[index] for index in codes]
    for op in ops:
        op.opcodeIndex = codes.index(op.opcodeIndex)


def _filled(part: Any, key: str) -> bool:
    return getattr(part, key, None) is not None
