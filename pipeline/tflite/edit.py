"""A .tflite file as objects of the generated schema, to be changed, and back as bytes."""

from typing import Any

IDENTIFIER = b"TFL3"  # file_identifier in tensorflow/compiler/mlir/lite/schema/schema.fbs
ALIGNED = 16  # bytes; force_align of Buffer.data in the same place, which Python's packers leave out


def unpacked(content: bytes) -> Any:
    """The file as a `ModelT`, whose tables are lists and plain attributes."""
    from ai_edge_litert.tools import flatbuffer_utils

    return flatbuffer_utils.convert_bytearray_to_object(content)


def packed(model: Any) -> bytes:
    """The bytes of a `ModelT`, as the runtime's own writer packs them."""
    from ai_edge_litert.tools import flatbuffer_utils

    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def packed_tightly(model: Any) -> bytes:
    """The bytes of a `ModelT`, with equal vectors stored once and the weights aligned.

    Flatbuffers allow the first, and it takes nothing from what is read: each channel of a kernel has a zero point of 8
    bytes, all of them zero, in the kernel and again in its bias. That is 5 % of an int8 ResNet-8.
    """
    import flatbuffers
    import numpy as np

    class Sharing(flatbuffers.Builder):  # type: ignore[misc]  # has no types
        """A builder that gives out the place of an equal vector that it has written."""

        def CreateNumpyVector(self, x: "np.ndarray[Any, Any]") -> int:  # noqa: N802 (the base's name)
            key = (x.dtype.str, x.tobytes())
            if key not in places:
                if x.dtype == np.uint8:
                    self.Prep(ALIGNED, x.nbytes)
                places[key] = super().CreateNumpyVector(x)
            return places[key]

    places: dict[tuple[str, bytes], int] = {}
    builder = Sharing(1024)  # grows by itself
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())
