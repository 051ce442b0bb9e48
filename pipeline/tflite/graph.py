"""What a .tflite file is made of: tensors, ops, subgraphs and signatures, as frozen dataclasses."""

from dataclasses import dataclass, field
from math import prod

import numpy as np
from numpy.typing import NDArray

_LSTM = (1, 2, 3, 4, 5, 6, 7, 8, 16)  # input to gates, recurrent to gates, projection; peepholes are elementwise
_BIDIRECTIONAL_LSTM = (*_LSTM, *range(18, 26), 33, *range(40, 48))

# Input positions of the matrices and kernels that an op multiplies with.
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


# Bits of one element; 0 where a tensor has no fixed size (strings and handles).
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
    """One tensor. ``raw`` holds a constant's bytes and is None for what is computed.

    shape            at the batch size that the file was made for; never negative
    shape_signature  the same with -1 where a dimension may be resized
    dtype            as the schema names it: "INT8", "FLOAT32"
    scales           one for the tensor, or one for each index along ``axis``; empty when it is not quantized
    zero_points      as many, or a single one for all
    block_size       elements that share a scale along the last axis, for blockwise quantization; otherwise 0
    variable         keeps its value from one invocation to the next
    sparse           ``raw`` is compressed by the schema's sparsity parameters
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
        """Of its values in memory, without padding; 0 for strings and handles."""
        return -(-self.elements * BITS[self.dtype] // 8)

    @property
    def scale(self) -> float | None:
        """The scale of the whole tensor; None when there is none, or more than one."""
        return self.scales[0] if len(self.scales) == 1 else None

    @property
    def zero_point(self) -> int | None:
        """The zero point that goes with ``scale``."""
        if self.scale is None:
            return None
        return self.zero_points[0] if self.zero_points else 0

    def data(self) -> NDArray[np.generic]:
        """A constant's values: (*shape), as stored and not dequantized. Decoded at each call.

        4 and 2 bit integers come as int8 or uint8, bfloat16 as float32, 8 bit floats as their codes in uint8.
        A sparse tensor gives its stored values only, and a string tensor its bytes: both (n,).
        Raises ValueError for a tensor that is not constant.
        """
        if self.raw is None:
            raise ValueError(f"tensor {self.name!r} is computed, it has no constant value")
        values = _decode(self.raw, self.dtype)
        if self.sparse or not BITS[self.dtype]:
            return values
        return values[: self.elements].reshape(self.shape)


def _decode(raw: NDArray[np.uint8], dtype: str) -> NDArray[np.generic]:
    """(bytes,) uint8 to (n,) values."""
    if dtype in ("INT4", "UINT4", "INT2"):
        return _unpack(raw, BITS[dtype], signed=dtype.startswith("I"))
    if dtype == "BFLOAT16":  # the upper half of a float32
        return (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)
    return raw.view(_NUMPY.get(dtype, "u1"))


def _unpack(raw: NDArray[np.uint8], bits: int, signed: bool) -> NDArray[np.generic]:
    """(bytes,) to (bytes * 8 / bits,) int8 or uint8. The first element is in the lowest bits (TFLite's int4_utils)."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    codes: NDArray[np.uint8] = (raw[:, None] >> shifts & (1 << bits) - 1).astype(np.uint8).reshape(-1)
    if not signed:
        return codes
    half = np.int8(1 << bits - 1)  # two's complement: flipping the sign bit shifts the codes up by half
    values: NDArray[np.int8] = (codes.view(np.int8) ^ half) - half
    return values


@dataclass(frozen=True, slots=True, eq=False)
class Op:
    """One operator.

    name           "CONV_2D", or a custom op's own name ("FlexErf")
    inputs         None where an optional input is left out
    sources        the inputs, with the constant that a DEQUANTIZE or DENSIFY in between decodes
    intermediates  where the converter notes ranges inside of an LSTM; no kernel reads them as data
    calls          indices of the subgraphs that it runs
    transposed_x   BATCH_MATMUL's adj_x
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

    @property
    def reads(self) -> tuple[Tensor, ...]:
        return tuple(tensor for tensor in self.inputs if tensor is not None)

    @property
    def weights(self) -> tuple[Tensor, ...]:
        """The constants that it multiplies with: a convolution's kernel, an LSTM's eight matrices."""
        slots = WEIGHTS.get(self.name, ())
        found = (self.sources[slot] for slot in slots if slot < len(self.sources))
        return tuple(tensor for tensor in found if tensor is not None and tensor.constant)

    @property
    def trained(self) -> tuple[Tensor, ...]:
        """Its float or quantized constants, each once: weights, biases, scales; not shapes, axes or paddings."""
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
    """A named entry: what an app calls. Neither its order nor the subgraph's is that of the Keras model."""

    key: str
    subgraph: int
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
