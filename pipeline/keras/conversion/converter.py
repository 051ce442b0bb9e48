"""TensorFlow's converter for a Keras model, with a static batch of one and Keras's names, and its calibration feed."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.progress import Progress

if TYPE_CHECKING:
    import tensorflow
    import tf_keras

Samples = Sequence[NDArray[np.float32]] | NDArray[np.float32]


def converter_of(model: "tf_keras.Model", shape: Sequence[int]) -> Any:
    """TensorFlow's converter for the model at batch 1. shape: of one example, for dimensions that are left open."""
    import tensorflow as tf

    holder = tf.Module()  # holds only the variables: with the model, the converter would trace every layer again
    holder.variables_of_the_model = model.variables
    return tf.lite.TFLiteConverter.from_concrete_functions([function_of(model, shape)], holder)


def function_of(model: "tf_keras.Model", shape: Sequence[int]) -> Any:
    """The model at batch 1 as a concrete function with named inputs and outputs, all of static shapes.

    The prefix `quant_` that tfmot gives to wrapped layers is removed, so that apps see the names of the original model.
    """
    import tensorflow as tf

    outputs = [name.removeprefix("quant_") for name in model.output_names]
    signature = {
        name: tf.TensorSpec([1, *_closed(tensor.shape[1:], shape)], tensor.dtype, name=name)
        for name, tensor in zip(model.input_names, model.inputs, strict=True)
    }

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def forward(inputs: dict[str, "tensorflow.Tensor"]) -> dict[str, "tensorflow.Tensor"]:
        return dict(zip(outputs, tf.nest.flatten(model(inputs, training=False)), strict=True))

    return forward.get_concrete_function(signature)


def _closed(dimensions: Sequence[int | None], shape: Sequence[int]) -> list[int]:
    """The dimensions of an input, those that are open as the examples have them."""
    if len(dimensions) != len(shape):
        return [size for size in dimensions if size is not None]
    return [size if own is None else own for own, size in zip(dimensions, shape, strict=True)]


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
