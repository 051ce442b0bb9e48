"""TensorFlow's converter for a traced Keras model, and its calibration feed."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.progress import Progress
from pipeline.keras.conversion.trace import Trace

Samples = Sequence[NDArray[np.float32]] | NDArray[np.float32]


def converter_of(trace: Trace) -> Any:
    """TensorFlow's converter for a traced model."""
    import tensorflow as tf

    holder = tf.Module()  # holds only the variables: with the model, the converter would trace every layer again
    holder.variables_of_the_model = trace.model.variables
    return tf.lite.TFLiteConverter.from_concrete_functions([trace.function], holder)


class Feed:
    """A representative dataset: yields examples by the input's name, and counts in `given` how many were used."""

    def __init__(
        self,
        name: str,
        samples: Samples,
        report: Callable[[Progress], None],
    ) -> None:
        self.name, self.samples, self.report = name, samples, report
        self.given = 0

    def __call__(self) -> Iterator[dict[str, NDArray[np.float32]]]:
        for sample in self.samples:
            self.given += 1
            yield {self.name: sample[np.newaxis]}
        self.report(Progress("calibration example", self.given, len(self.samples)))
