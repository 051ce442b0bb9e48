"""The runtime `reference`: LiteRT with its reference kernels, whose arithmetic is closest to microcontrollers."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.verify.runtimes.runtime import Runtime
from pipeline.verify.runtimes.xnnpack import NO_DECODER

if TYPE_CHECKING:
    from pipeline.tflite import Model
    from pipeline.tflite.values import Array


class Reference(Runtime):
    """LiteRT's reference kernels."""

    name, title, short = "reference", "LiteRT, reference kernels", "reference"
    cost, budget = 23, 7 * 10**9

    def unavailable(self, model: "Model") -> str:
        return NO_DECODER if model.compressed else ""

    def run(self, path: Path, inputs: "Mapping[str, Array]") -> "dict[str, Array]":
        from pipeline.verify.interpreters import litert

        return litert.outputs(path, inputs, "reference")
