"""What a .tflite file is to be: the properties that a conversion is asked for."""

from dataclasses import dataclass
from typing import Literal

from pipeline.keras.conversion.estimators import Estimator

INTEGER = ("int8", "int16x8")  # quantizations that need ranges of activations
MOST_STEPS = 64  # of a recurrent layer that is unrolled without being asked; a step of a GRU takes 12 ops
Kernels = Literal["all", "litert"]
Patterns = tuple[str, ...]  # names of layers or ops, with `*` for any characters


@dataclass(frozen=True)
class Request:
    """The requested properties of a file.

    quantization        float32, float16, dynamic, int8 or int16x8
    port                type of inputs and outputs
    per_channel         whether weights have one scale per channel, or one per layer
    per_channel_dense   the same for dense layers
    estimator           estimator of activation ranges
    percentile          share of the values within a range, for the estimator of that name
    kernels             runtimes whose int8 kernels the file may use: `all`, or `litert`, which has some that TFLM lacks
    unroll              largest number of steps of a recurrent layer that becomes ops in place of a loop
    keep_float, keep_int16  layers and ops of an int8 file that stay float32 or have int16 activations
    """

    quantization: str
    port: str
    per_channel: bool
    per_channel_dense: bool
    estimator: Estimator
    percentile: float
    kernels: Kernels = "all"
    unroll: int = MOST_STEPS
    keep_float: Patterns = ()
    keep_int16: Patterns = ()
