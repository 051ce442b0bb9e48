"""Changes to the structure of a .tflite file, packed by the schema alone: nothing of the pipeline sees them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

Root = Any  # schema.ModelT


def unpack(content: bytes) -> Root:
    return schema.ModelT.InitFromPackedBuf(content)


def pack(root: Root) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(root.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def edited(path: Path, edit: Callable[[Root], None]) -> bytes:
    """The file after a change to its unpacked root."""
    root = unpack(path.read_bytes())
    edit(root)
    return pack(root)
