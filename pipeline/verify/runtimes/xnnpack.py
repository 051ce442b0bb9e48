"""The runtime `xnnpack`: LiteRT with its XNNPACK delegate, the default in apps."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.verify.runtimes.runtime import Runtime

if TYPE_CHECKING:
    from pipeline.tflite import Model
    from pipeline.tflite.values import Array

NO_DECODER = "its weights are compressed for TensorFlow Lite Micro; LiteRT has no TFLM_DECODE op"


class Xnnpack(Runtime):
    """LiteRT's XNNPACK delegate, with built-in kernels for the ops that XNNPACK does not support."""

    name, title, short = "xnnpack", "LiteRT, XNNPACK", "XNNPACK"

    def unavailable(self, model: "Model") -> str:
        return NO_DECODER if model.compressed else ""

    def run(self, path: Path, inputs: "Mapping[str, Array]") -> "dict[str, Array]":
        from pipeline.verify.interpreters import litert

        return litert.outputs(path, inputs, "xnnpack")
