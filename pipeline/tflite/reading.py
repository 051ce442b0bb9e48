"""Read the bytes of a .tflite file into a :class:`Model`. Invalid files raise InputError with the reason.

Slot numbers are the positions of fields in tensorflow/lite/schema/schema.fbs, version 3.
"""

import hashlib
import math
import os
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.core import model_format, regular_file
from pipeline.core.errors import Fault, InputError
from pipeline.tflite import lut
from pipeline.tflite.flatbuffer import I8, I32, U8, U32, U64, Buffer, MalformedError, Table
from pipeline.tflite.graph import BITS, Op, Signature, Subgraph, Tensor
from pipeline.tflite.model import Model
from pipeline.tflite.state import DRAWS

ModelSource = Model | str | os.PathLike[str] | bytes  # a model, the path of a file, or its bytes

IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3
MAX_RANK = 32  # the limit of NumPy 1; the runtime's kernels support up to 8 dimensions
MAX_TENSOR_BYTES = 1 << 40  # 1 TiB; larger dimensions come from damage or an attack
MAX_SUBGRAPHS = 1000  # one for each signature, and for each branch and body of control flow
MAX_REUSE = 64  # limit of constants' total size over file size; above 1 is valid, because signatures share weights


@cache
def op_names() -> dict[int, str]:
    """The code of each built-in op -> its name."""
    from ai_edge_litert.schema_py_generated import BuiltinOperator  # 16,000 lines: loaded when a file is read

    return _names(BuiltinOperator)


@cache
def _dtypes() -> dict[int, str]:
    from ai_edge_litert.schema_py_generated import TensorType

    return {code: name for code, name in _names(TensorType).items() if name in BITS}


def _names(enum: type) -> dict[int, str]:
    return {value: name for name, value in vars(enum).items() if isinstance(value, int)}


_BLOCKWISE = (2, 3)  # QuantizationDetails: BlockwiseQuantization, MultiAxisQuantization

# Ops that run other subgraphs -> (slot of the options in the op, slots of the subgraph indices in the options).
_OPTIONS, _OPTIONS_2 = 4, 12
_CALLS: dict[str, tuple[int, tuple[int, ...]]] = {
    "IF": (_OPTIONS, (0, 1)),
    "WHILE": (_OPTIONS, (0, 1)),
    "CALL": (_OPTIONS, (0,)),
    "CALL_ONCE": (_OPTIONS, (0,)),
    "STABLEHLO_WHILE": (_OPTIONS_2, (0, 1)),
    "STABLEHLO_REDUCE": (_OPTIONS_2, (1,)),
    "STABLEHLO_SORT": (_OPTIONS_2, (2,)),
    "STABLEHLO_SCATTER": (_OPTIONS_2, (6,)),
    "STABLEHLO_REDUCE_WINDOW": (_OPTIONS_2, (5,)),
    "STABLEHLO_COMPOSITE": (_OPTIONS_2, (1,)),
}


def read(source: str | os.PathLike[str] | bytes) -> Model:
    """Read a model from a file or from bytes.

    Raises InputError for anything but a complete and consistent .tflite file. Time and memory are proportional to the
    size of the file, whatever the file claims.
    """
    path = None if isinstance(source, bytes) else os.fspath(source)
    if path is not None and (other := model_format.kind(Path(path))):
        raise InputError(Fault("must be a .tflite file", where=path, received=other[0], do=other[1]))
    try:
        content = source if isinstance(source, bytes) else _load(Path(source))
        return _model(content, path)
    except MalformedError as error:
        fault = Fault(f"not a valid .tflite file: {error}", where=path or "", do=_ADVICE)
    except OSError as error:
        fault = Fault(f"can't read the file: {error.strerror or error}", where=path or "")
    except MemoryError:
        fault = Fault("the file does not fit into memory", where=path or "")
    raise InputError(fault)


_ADVICE = "convert the model again, or check that the download is complete"


def _load(path: Path) -> bytes:
    """Return the content of a regular file, of which no more than the head is read if that is wrong."""
    regular_file.size(path)
    with path.open("rb") as file:
        head = file.read(8)
        _check_head(head)
        return head + file.read()


def _check_head(head: bytes) -> None:
    if not head:
        raise MalformedError("it is empty")
    if len(head) < 8:
        raise MalformedError("it is cut off")
    if head[4:8] != IDENTIFIER:
        raise MalformedError(f"it lacks the identifier TFL3 at byte 4 (it has {head[4:8]!r})")


def _model(content: bytes, path: str | None) -> Model:
    _check_head(content[:8])
    source = Buffer(content)
    root = Table(source, source.scalar(U32, 0))
    version = root.number(0, U32)
    if version != SCHEMA_VERSION:
        raise MalformedError(f"its schema is version {version}, and {SCHEMA_VERSION} is what runtimes read")
    buffers = [_buffer(table, content) for table in root.tables(4)]
    codes = [_code(table) for table in root.tables(1)]
    tables = root.tables(2)
    if not 1 <= len(tables) <= MAX_SUBGRAPHS:
        raise MalformedError(f"it has {len(tables) or 'no'} subgraphs")
    subgraphs = tuple(_subgraph(table, index, codes, buffers) for index, table in enumerate(tables))
    _check_reuse(subgraphs, len(content))
    _check_calls(subgraphs)
    return Model(
        path=path,
        content=content,
        sha256=hashlib.sha256(content).hexdigest(),
        description=root.text(3),
        subgraphs=subgraphs,
        signatures=tuple(_signature(table, subgraphs) for table in root.tables(7)),
        metadata={table.text(0): _metadata(table, buffers) for table in root.tables(6)},
    )


def _pick(items: Sequence[Any], index: int, what: str) -> Any:
    if not 0 <= index < len(items):
        raise MalformedError(f"it refers to {what} {index}, and has {len(items)}")
    return items[index]


class _Code(NamedTuple):
    name: str
    version: int
    custom: bool


def _code(table: Table) -> _Code:
    # The code was one byte until 2020. Writers set both fields, and the larger one is valid (schema_utils.cc).
    code = max(table.number(0, I8), table.number(3, I32))
    if code not in op_names():
        raise MalformedError(f"it uses the operator code {code}, which this version of ai-edge-litert does not know")
    name = op_names()[code]
    custom = name == "CUSTOM"
    return _Code(table.text(1) or "CUSTOM" if custom else name, table.number(2, I32, 1), custom)


def _buffer(table: Table, content: bytes) -> NDArray[np.uint8] | None:
    """Return the bytes of a buffer, inside the flatbuffer or after it (files over 2 GB); None if it is empty."""
    offset, count = table.number(1, U64), table.number(2, U64)
    if offset > 1:  # 0 and 1 are placeholders
        if offset + count > len(content):
            raise MalformedError(f"a buffer lies at bytes {offset} to {offset + count}, outside of it")
        return np.frombuffer(content, np.uint8, count, offset) if count else None
    raw = table.array(0, "u1")
    return raw.view(np.uint8) if raw.size else None


def _metadata(table: Table, buffers: Sequence[NDArray[np.uint8] | None]) -> bytes:
    raw: NDArray[np.uint8] | None = _pick(buffers, table.number(1, U32), "buffer")
    return b"" if raw is None else raw.tobytes()


def _subgraph(
    table: Table, index: int, codes: Sequence[_Code], buffers: Sequence[NDArray[np.uint8] | None]
) -> Subgraph:
    tensors = tuple(_tensor(item, index, number, buffers) for number, item in enumerate(table.tables(0)))
    inputs = _select(tensors, table.ints(1))
    ops = _ops(table.tables(3), index, codes, tensors, inputs)
    return Subgraph(index, table.text(4), tensors, inputs, _select(tensors, table.ints(2)), ops)


def _select(tensors: Sequence[Tensor], indices: Iterable[int]) -> tuple[Tensor, ...]:
    return tuple(_pick(tensors, index, "tensor") for index in indices)


def _tensor(table: Table, subgraph: int, index: int, buffers: Sequence[NDArray[np.uint8] | None]) -> Tensor:
    number, code = table.number(2, U32), table.number(1, I8)
    if code not in _dtypes():
        raise MalformedError(f"a tensor has the type code {code}, which this version of ai-edge-litert does not know")
    if table.number(10, U32):
        raise MalformedError("its weights lie in another file (external buffers), which is not supported")
    shape = table.ints(0)
    raw = _pick(buffers, number, "buffer") if number else None  # buffer 0 stands for "no data"
    tensor = Tensor(
        subgraph=subgraph,
        index=index,
        name=table.text(3),
        shape=shape,
        shape_signature=table.ints(7) or shape,
        dtype=_dtypes()[code],
        variable=bool(table.number(5, U8)),
        sparse=table.has(6),
        raw=raw,
        **_quantization(table.table(4), shape, _dtypes()[code]),
    )
    _check_size(tensor)
    return tensor


def _quantization(table: Table | None, shape: tuple[int, ...], dtype: str) -> dict[str, Any]:
    """Return the fields scales, zero_points, axis and block_size of a tensor.

    Raises MalformedError for numbers of scales or zero points that the runtime would refuse, and for scales of a type
    that holds no numbers, because its values have no axis.
    """
    if table is None:
        return {}
    scales, zero_points = tuple(table.array(2, "<f4").tolist()), table.ints(3, "<i8")
    axis, details = table.number(6, I32), table.table(5)
    if scales and not BITS[dtype]:
        raise MalformedError(f"a tensor of type {dtype} has {len(scales)} scales; only numbers are quantized")
    if len(scales) > 1 and not (0 <= axis < len(shape) and len(scales) == shape[axis]):
        if dtype == "UINT8":  # encoded weights: TFLite Micro's tools (2026-10) keep the scales of the plain ones
            return {}
        raise MalformedError(f"a tensor of shape {shape} has {len(scales)} scales along axis {axis}")
    if scales and len(zero_points) not in (0, 1, len(scales)):
        raise MalformedError(f"a tensor has {len(scales)} scales and {len(zero_points)} zero points")
    blocks = details is not None and table.number(4, U8) in _BLOCKWISE
    block_size = max(details.number(2, I32), 1) if blocks and details else 0
    return {"scales": scales, "zero_points": zero_points if scales else (), "axis": axis, "block_size": block_size}


def _check_size(tensor: Tensor) -> None:
    if len(tensor.shape) > MAX_RANK or any(size < 0 for size in tensor.shape):
        raise MalformedError(f"tensor {tensor.index} has the shape {tensor.shape[:MAX_RANK]}")
    if tensor.bytes > MAX_TENSOR_BYTES or tensor.elements > MAX_TENSOR_BYTES:
        raise MalformedError(f"tensor {tensor.index} of shape {tensor.shape} claims {tensor.elements:.1e} elements")
    wanted = tensor.bytes
    if tensor.raw is not None and BITS[tensor.dtype] and not tensor.sparse and tensor.raw.size != wanted:
        raise MalformedError(f"tensor {tensor.index} takes {wanted} bytes, and its buffer holds {tensor.raw.size}")
    if tensor.raw is not None and BITS[tensor.dtype] and tensor.raw.size * 8 % max(BITS[tensor.dtype], 8):
        raise MalformedError(f"tensor {tensor.index} has {tensor.raw.size} bytes of {tensor.dtype}")


def _ops(
    tables: Sequence[Table], subgraph: int, codes: Sequence[_Code], tensors: Sequence[Tensor], inputs: Iterable[Tensor]
) -> tuple[Op, ...]:
    """Return the ops in file order. Raises MalformedError unless each tensor is written once, before it is read."""
    ops: list[Op] = []
    decoded: dict[Tensor, Tensor] = {}
    stored = 8 * sum(tensor.raw.size for tensor in tensors if tensor.raw is not None)  # at 1 bit an element
    written, read_early = {*inputs}, set[Tensor]()
    for index, table in enumerate(tables):
        op = _op(table, subgraph, index, codes, tensors, decoded)
        read_early.update(tensor for tensor in op.reads if tensor not in written)
        for tensor in op.outputs:
            if tensor.constant or tensor in written or tensor in read_early:
                raise MalformedError(
                    f"op {index} ({op.name}) writes tensor {tensor.index}, which is already there or read"
                )
        written.update(op.outputs)
        if op.name in ("DEQUANTIZE", "DENSIFY") and op.sources and op.outputs:
            source = op.sources[0]
            if source is not None and source.constant:
                decoded[op.outputs[0]] = source
        if op.name == lut.DECODE:
            decoded.update(_looked_up(op))
            if sum(tensor.elements for tensor in decoded.values()) > stored:
                raise MalformedError(f"op {index} ({op.name}) decodes more than the file can hold")
        ops.append(op)
    return tuple(ops)


def _looked_up(op: Op) -> dict[Tensor, Tensor]:
    """Return the outputs of a TFLM_DECODE as constants. Its inputs are pairs of an encoded and an ancillary tensor."""
    if len(op.reads) != 2 * len(op.outputs):
        raise MalformedError(f"op {op.index} ({op.name}) reads {len(op.reads)} tensors to write {len(op.outputs)}")
    found = map(lut.decode, op.reads[0::2], op.reads[1::2], op.outputs)
    return {output: constant for output, constant in zip(op.outputs, found, strict=True) if constant is not None}


def _op(
    table: Table,
    subgraph: int,
    index: int,
    codes: Sequence[_Code],
    tensors: Sequence[Tensor],
    decoded: dict[Tensor, Tensor],
) -> Op:
    code: _Code = _pick(codes, table.number(0, U32), "operator code")
    # -1 means that an optional input is left out.
    inputs = tuple(None if place == -1 else _pick(tensors, place, "tensor") for place in table.ints(1))
    options = table.table(_OPTIONS) if code.name == "BATCH_MATMUL" or code.name in DRAWS else None
    return Op(
        subgraph=subgraph,
        index=index,
        name=code.name,
        version=code.version,
        custom=code.custom,
        inputs=inputs,
        outputs=_select(tensors, table.ints(2)),
        sources=tuple(tensor and decoded.get(tensor, tensor) for tensor in inputs),
        intermediates=_select(tensors, table.ints(8)),
        calls=_calls(code.name, table),
        transposed_x=bool(options and code.name == "BATCH_MATMUL" and options.number(0, U8)),
        seed=bool(options and code.name in DRAWS and (options.number(0, U64) or options.number(1, U64))),
    )


def _calls(name: str, table: Table) -> tuple[int, ...]:
    if name == "STABLEHLO_CASE":
        options = table.table(_OPTIONS_2)
        return options.ints(0) if options else ()
    place, slots = _CALLS.get(name, (_OPTIONS, ()))
    options = table.table(place) if slots else None
    return tuple(options.number(slot, I32) for slot in slots) if options else ()


def _check_reuse(subgraphs: Iterable[Subgraph], size: int) -> None:
    """Bound the work of reading all constants: a million tensors may share one buffer."""
    constants = (tensor for graph in subgraphs for tensor in graph.tensors if tensor.raw is not None)
    claimed = sum(tensor.raw.size for tensor in constants if tensor.raw is not None)
    if claimed > MAX_REUSE * size:
        raise MalformedError(f"its constants claim {claimed} bytes, {math.ceil(claimed / size)} times its size")


def _check_calls(subgraphs: Sequence[Subgraph]) -> None:
    """Raise MalformedError if an op runs a subgraph that does not exist, or subgraphs run each other in a cycle.

    Subgraphs are removed in topological order, starting with those that run no other; what remains is in a cycle.
    """
    waiting = {}
    for graph in subgraphs:
        called = {index for op in graph.ops for index in op.calls}
        waiting[graph.index] = {_pick(subgraphs, index, "subgraph").index for index in called}
    callers: dict[int, list[int]] = {index: [] for index in waiting}
    for caller, called in waiting.items():
        for index in called:
            callers[index].append(caller)
    ready = [index for index, called in waiting.items() if not called]
    while ready:
        done = ready.pop()
        del waiting[done]
        for caller in callers[done]:
            waiting[caller].discard(done)
            if not waiting[caller]:
                ready.append(caller)
    if waiting:
        raise MalformedError(f"its subgraphs {sorted(waiting)[:8]} run each other in a circle")


def _signature(table: Table, subgraphs: Sequence[Subgraph]) -> Signature:
    graph: Subgraph = _pick(subgraphs, table.number(4, U32), "subgraph")
    inputs, outputs = (
        {item.text(0): _port(graph, ports, item.number(1, U32), what) for item in table.tables(slot)}
        for slot, ports, what in ((0, {*graph.inputs}, "input"), (1, {*graph.outputs}, "output"))
    )
    return Signature(table.text(2), graph.index, inputs, outputs)


def _port(graph: Subgraph, ports: set[Tensor], index: int, what: str) -> Tensor:
    tensor: Tensor = _pick(graph.tensors, index, "tensor")
    if tensor not in ports:
        raise MalformedError(f"a signature names tensor {index}, which is no {what} of subgraph {graph.index}")
    return tensor
