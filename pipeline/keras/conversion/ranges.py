"""Replace the activation ranges of a calibrated file, which are minimum and maximum, by those of an estimator.

The converter first calibrates a float file, in which each tensor has its observed range, then quantizes the file to
these ranges. They are replaced between the two steps. The converter then does the rest: ranges that ops must share, and
outputs whose range the specification fixes.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pipeline import tflite
from pipeline.core.progress import Progress
from pipeline.keras.conversion.estimators import BATCH, Estimator, Histogram, estimate
from pipeline.tflite import edit
from pipeline.verify.interpreters import litert


def estimated(
    calibrated: bytes,
    samples: NDArray[np.float32],
    estimator: Estimator,
    kept: float,
    report: Callable[[Progress], None] = lambda progress: None,
) -> bytes:
    """The calibrated file with ranges by the estimator for every activation of its first subgraph.

    samples  the examples (n, ...) that it was calibrated with
    kept     share of the values within the range, for `percentile`
    """
    file = edit.unpacked(calibrated)
    graph = file.subgraphs[0]
    read = tflite.read(calibrated).subgraphs[0]
    activations = (*read.inputs, *(tensor for op in read.ops for tensor in op.outputs))  # no state tensors
    noted = {t.index: graph.tensors[t.index].quantization for t in activations if t.dtype == "FLOAT32"}
    seen = {
        index: Histogram(float(range_.min[0]), float(range_.max[0]))
        for index, range_ in noted.items()
        if range_ is not None and range_.min is not None and range_.max is not None
    }
    _observe(calibrated, samples, seen, report)
    for index, histogram in seen.items():
        low, high = estimate(estimator, histogram, kept)
        noted[index].min, noted[index].max = [low], [high]
    return edit.packed(file)


def _observe(
    content: bytes, samples: NDArray[np.float32], seen: dict[int, Histogram], report: Callable[[Progress], None]
) -> None:
    """Run the float file on the examples, and add the tensors' values to `seen`: tensor index -> histogram."""
    runner = litert.Runner(content, kernels="builtin", keep=True)
    tensors = {index: runner.model.subgraphs[0].tensors[index] for index in seen}
    for start in range(0, len(samples), BATCH):
        values = runner.observe(samples[start : start + BATCH], tensors)
        for index, histogram in seen.items():
            histogram.add(values[index])
        report(Progress("example for ranges", min(start + BATCH, len(samples)), len(samples)))
