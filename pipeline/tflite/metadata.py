"""Write metadata into a .tflite file: named buffers, which runtimes do not load."""

import numpy as np

from pipeline.tflite import edit


def embedded(content: bytes, name: str, value: bytes) -> bytes:
    """Return the bytes of a .tflite file with a metadata entry `name` = `value`, replacing an entry of that name.

    The file is unpacked and packed again with the generated schema, as TensorFlow's converter does in its last step.
    """
    from ai_edge_litert.schema_py_generated import BufferT, MetadataT

    model = edit.unpacked(content)
    buffer = BufferT()
    buffer.data = np.frombuffer(value, np.uint8)
    model.metadata = list(model.metadata or ())
    known = next((entry for entry in model.metadata if entry.name == name.encode()), None)
    if known is not None:
        model.buffers[known.buffer] = buffer
    else:
        entry = MetadataT()
        entry.name, entry.buffer = name.encode(), len(model.buffers)
        model.buffers.append(buffer)
        model.metadata.append(entry)
    return edit.packed_tightly(model)
