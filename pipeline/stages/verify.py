"""The stage `verify`: measure .tflite files over the whole test split, and judge them by checks."""

from typing import TYPE_CHECKING

from pipeline.stages import verification
from pipeline.stages.stage import Stage

if TYPE_CHECKING:
    pass


class Verify(Stage):
    """Measure the .tflite files of the named stages, exactly as they ship, and judge them by checks.

    Files run on LiteRT (`ai_edge_litert`); a file that only TensorFlow Lite Micro can run runs there. Measurements
    depend only on the files and the test split, so changed checks or limits measure nothing again. Figures of an NPU
    are estimated only if a check or the target needs them.
    """

    takes = "tflite"
    gives = "checks"
    scores = True
    libraries = ("ai-edge-litert", "tflite-micro", "tensorflow", "tf_keras", "numpy", "scikit-learn")
    decided_by = verification.__name__  # checks and how they are judged don't affect the measurements
    # The key holds what `of` and `baseline` name, and of `runtime` what it asks to be measured.
    anonymous = Stage.anonymous | {"of", "baseline", "checks", "runtime"}
