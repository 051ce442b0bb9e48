"""Read untrusted .tflite files into frozen dataclasses, and edit them. Models are never run here.

``read(path)`` returns a :class:`Model` with tensors, ops, signatures, and the facts that follow from them.
"""

from pipeline.tflite.graph import Op, Signature, Subgraph, Tensor
from pipeline.tflite.memory import peak_bytes
from pipeline.tflite.model import FloatUse, Layer, Model
from pipeline.tflite.names import keras_layers, layer_name
from pipeline.tflite.reading import op_names, read

__all__ = [
    "FloatUse", "Layer", "Model", "Op", "Signature", "Subgraph", "Tensor", "keras_layers", "layer_name", "op_names",
    "peak_bytes", "read",
]  # fmt: skip
