"""Read untrusted .tflite files into frozen dataclasses, and edit them. Models are never run here.

``read(path)`` returns a :class:`Model` with tensors, ops, signatures, and the facts that follow from them.
"""

from pipeline.tflite.graph import Op, Signature, Subgraph, Tensor
from pipeline.tflite.memory import peak_bytes
from pipeline.tflite.model import FloatUse, Kernel, Layer, Model
from pipeline.tflite.reading import op_names, read

__all__ = [
    "FloatUse", "Kernel", "Layer", "Model", "Op", "Signature", "Subgraph", "Tensor", "op_names", "peak_bytes", "read",
]  # fmt: skip
