"""The runtime `tflm`: TensorFlow Lite Micro, as the interpreter of its Python wheel for Linux x86_64."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.verify.runtimes.runtime import Runtime

if TYPE_CHECKING:
    from pipeline.tflite.values import Array


class Tflm(Runtime):
    """TensorFlow Lite Micro's reference kernels."""

    name, title, short = "tflm", "TFLite Micro", "TFLM"
    cost, budget, locks = 47, 4 * 10**9, True

    def run(self, path: Path, inputs: "Mapping[str, Array]") -> "dict[str, Array]":
        from pipeline import tflite
        from pipeline.verify.interpreters import tflm

        return tflm.raw(tflite.read(path), inputs)
