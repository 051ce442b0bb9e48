"""The elements of a .tflite file as frozen dataclasses: tensors, ops, subgraphs and signatures."""

from dataclasses import dataclass, field
from math import prod

import numpy as np
from numpy.typing import NDArray

_LSTM = (1, 2, 3, 4, 5, 6, 7, 8, 16)  # input-to-gate, recurrent-to-gate, projection; peepholes are elementwise
_BIDIRECTIONAL_LSTM = (*_LSTM, *range(18, 26), 33, *range(40, 48))

# Input positions of the weight matrices and convolution kernels of each op.
WEIGHTS: dict[str, tuple[int, ...]] = {
    "CONV_2D": (1,),
    "DEPTHWISE_CONV_2D": (1,),
    "TRANSPOSE_CONV": (1,),
    "CONV_3D": (1,),
    "CONV_3D_TRANSPOSE": (1,),
    "FULLY_CONNECTED": (1,),
    "BATCH_MATMUL": (0, 1),
    "LSTM": _LSTM,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _LSTM,
    "BIDIRECTIONAL_SEQUENCE_LSTM": _BIDIRECTIONAL_LSTM,
    "RNN": (1, 2),
    "UNIDIRECTIONAL_SEQUENCE_RNN": (1, 2),
    "BIDIRECTIONAL_SEQUENCE_RNN": (1, 2, 5, 6, 10, 11),
    "SVDF": (1, 2),
}
_LOOKUPS = {"GATHER": 0, "EMBEDDING_LOOKUP": 1}  # input position of the table

# Bits per element; 0 for types without a fixed size (strings and handles).
BITS = {
    "FLOAT64": 64, "FLOAT32": 32, "FLOAT16": 16, "BFLOAT16": 16, "FLOAT8_E4M3FN": 8, "FLOAT8_E5M2": 8,
    "COMPLEX64": 64, "COMPLEX128": 128, "INT64": 64, "UINT64": 64, "INT32": 32, "UINT32": 32, "INT16": 16,
    "UINT16": 16, "INT8": 8, "UINT8": 8, "INT4": 4, "UINT4": 4, "INT2": 2, "BOOL": 8,
    "STRING": 0, "RESOURCE": 0, "VARIANT": 0,
}  # fmt: skip

FLOATS = frozenset(name for name in BITS if name.startswith(("FLOAT", "BFLOAT", "COMPLEX")))

_NUMPY = {
    "FLOAT64": "<f8", "FLOAT32": "<f4", "FLOAT16": "<f2", "COMPLEX64": "<c8", "COMPLEX128": "<c16", "INT64": "<i8",
    "UINT64": "<u8", "INT32": "<i4", "UINT32": "<u4", "INT16": "<i2", "UINT16": "<u2", "INT8": "i1", "BOOL": "?",
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """One tensor.

    subgraph         index of its subgraph in the file
    index            index in the subgraph
    shape            shape at the batch size in the file; never negative
    shape_signature  the same shape with -1 for dimensions that can be resized
    dtype            type name in the schema, such as "INT8" or "FLOAT32"
    scales           one scale for the tensor, or one for each index along ``axis``; empty if not quantized
    zero_points      as many as scales, or one for all
    axis             dimension of per-channel scales
    block_size       number of elements along the last axis that share a scale; 0 if not blockwise quantized
    variable         whether it keeps its value from one invocation to the next
    sparse           whether ``raw`` is compressed as described by the schema's sparsity parameters
    raw              bytes (n,), uint8, of a constant; None for a tensor that is computed
    """

    subgraph: int
    index: int
    name: str
    shape: tuple[int, ...]
    shape_signature: tuple[int, ...]
    dtype: str
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()
    axis: int = 0
    block_size: int = 0
    variable: bool = False
    sparse: bool = False
    raw: NDArray[np.uint8] | None = field(default=None, repr=False)

    @property
    def constant(self) -> bool:
        return self.raw is not None

    @property
    def quantized(self) -> bool:
        return bool(self.scales) or self.block_size > 0

    @property
    def floating(self) -> bool:
        return self.dtype in FLOATS

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        """Size of its values in memory, without padding; 0 for strings and handles."""
        return -(-self.elements * BITS[self.dtype] // 8)

    @property
    def scale(self) -> float | None:
        """The per-tensor scale; None if there is no scale, or more than one."""
        return self.scales[0] if len(self.scales) == 1 else None

    @property
    def zero_point(self) -> int | None:
        """The zero point that belongs to ``scale``; None if ``scale`` is None."""
        if self.scale is None:
            return None
        return self.zero_points[0] if self.zero_points else 0

    def data(self) -> NDArray[np.generic]:
        """Return the stored values (*shape) of a constant, not dequantized. They are decoded at each call.

        4-bit and 2-bit integers are returned as int8 or uint8, bfloat16 as float32, 8-bit floats as uint8 codes. For a
        sparse tensor only the stored values are returned, and for a string tensor its bytes, both (n,).
        Raises ValueError for a tensor that is not constant.
        """
        if self.raw is None:
            raise ValueError(f"tensor {self.name!r} is computed, it has no constant value")
        values = _decode(self.raw, self.dtype)
        if self.sparse or not BITS[self.dtype]:
            return values
        return values[: self.elements].reshape(self.shape)


def _decode(raw: NDArray[np.uint8], dtype: str) -> NDArray[np.generic]:
    """Decode bytes (n,), uint8, to values (m,)."""
    if dtype in ("INT4", "UINT4", "INT2"):
        return _unpack(raw, BITS[dtype], signed=dtype.startswith("I"))
    if dtype == "BFLOAT16":  # the upper half of a float32
        return (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)
    return raw.view(_NUMPY.get(dtype, "u1"))


def _unpack(raw: NDArray[np.uint8], bits: int, signed: bool) -> NDArray[np.generic]:
    """Unpack bytes (n,) to integers (n * 8 / bits,), int8 or uint8.

    The first element is in the lowest bits, as in TFLite's int4_utils.
    """
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    codes: NDArray[np.uint8] = (raw[:, None] >> shifts & (1 << bits) - 1).astype(np.uint8).reshape(-1)
    if not signed:
        return codes
    half = np.int8(1 << bits - 1)  # two's complement: sign extension by (code XOR half) - half
    values: NDArray[np.int8] = (codes.view(np.int8) ^ half) - half
    return values


@dataclass(frozen=True, slots=True, eq=False)
class Op:
    """One operator.

    name           "CONV_2D", or the name of a custom op ("FlexErf")
    version        operator version in the file
    inputs         input tensors; None for an optional input that is left out
    sources        the inputs, but the encoded constant in place of what a DEQUANTIZE or DENSIFY decodes from it
    intermediates  tensors that carry ranges inside an LSTM; no kernel reads them as data
    calls          indices of the subgraphs that the op runs
    transposed_x   adj_x of BATCH_MATMUL
    seed           whether an op that draws random numbers has a seed; without one it draws others each time
    """

    subgraph: int
    index: int
    name: str
    version: int
    custom: bool
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    sources: tuple[Tensor | None, ...] = ()
    intermediates: tuple[Tensor, ...] = ()
    calls: tuple[int, ...] = ()
    transposed_x: bool = False
    seed: bool = False

    @property
    def reads(self) -> tuple[Tensor, ...]:
        return tuple(tensor for tensor in self.inputs if tensor is not None)

    @property
    def weights(self) -> tuple[Tensor, ...]:
        """The constant weights: the kernel of a convolution, the eight matrices of an LSTM."""
        slots = WEIGHTS.get(self.name, ())
        found = (self.sources[slot] for slot in slots if slot < len(self.sources))
        return tuple(tensor for tensor in found if tensor is not None and tensor.constant)

    @property
    def kernels(self) -> tuple[Tensor, ...]:
        """The weights, each once, and the table of a lookup: what pruning sets to zero and clustering shares."""
        slot = _LOOKUPS.get(self.name)
        found = self.sources[slot : slot + 1] if slot is not None else ()
        tables = (table for table in found if table is not None and table in self.trained and len(table.shape) > 1)
        return tuple(dict.fromkeys((*self.weights, *tables)))

    @property
    def trained(self) -> tuple[Tensor, ...]:
        """The float or quantized constants, each once: weights, biases, scales; not shapes, axes or paddings."""
        if self.name in ("DEQUANTIZE", "DENSIFY"):
            return ()
        found = (tensor for tensor in self.sources if tensor is not None and tensor.constant)
        return tuple(dict.fromkeys(tensor for tensor in found if tensor.floating or tensor.quantized))

    @property
    def parameters(self) -> int:
        return sum(tensor.elements for tensor in self.trained)


@dataclass(frozen=True, slots=True, eq=False)
class Subgraph:
    index: int
    name: str
    tensors: tuple[Tensor, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    ops: tuple[Op, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Signature:
    """A named entry point of the file, with inputs and outputs by name.

    The order of its inputs and outputs, as that of the subgraph's, can differ from the Keras model's.
    """

    key: str
    subgraph: int
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
