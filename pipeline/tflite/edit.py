"""Unpack a .tflite file into objects of the generated schema for editing, and pack them into bytes again."""

from collections.abc import Mapping
from typing import Any

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
    import numpy as np

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
