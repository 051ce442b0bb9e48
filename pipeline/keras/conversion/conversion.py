"""Convert a Keras model to a .tflite file: in one step, or in two (calibrate, then quantize)."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline import tflite
from pipeline.core.errors import Fault, StageError
from pipeline.core.progress import Progress, step
from pipeline.keras.conversion.converter import Feed, converter_of
from pipeline.keras.conversion.file_layers import Layers
from pipeline.keras.conversion.functions import in_integers
from pipeline.keras.conversion.named_ops import NamedOps
from pipeline.keras.conversion.ranges import estimated
from pipeline.keras.conversion.refusal import refusals
from pipeline.keras.conversion.request import INTEGER, Request
from pipeline.keras.conversion.trace import Trace, traced
from pipeline.tflite import scales
from pipeline.tflite.int8_spec import BORDER
from pipeline.tflite.int16 import widened

if TYPE_CHECKING:
    import tf_keras


@dataclass(frozen=True)
class Conversion:
    """The conversion of one model.

    asked   the requested properties of the file
    model   the Keras model
    shape   of one example, for dimensions that the model leaves open
    origin  for a rewritten network: layer -> the original layer
    report  receives the progress of calibration
    """

    asked: Request
    model: "tf_keras.Model"
    shape: tuple[int, ...]
    origin: Mapping[str, str] = field(default_factory=dict)
    report: Callable[[Progress], None] = lambda progress: None

    @cached_property
    def trace(self) -> Trace:
        return traced(self.model, self.shape)

    @cached_property
    def layers(self) -> Layers:
        return Layers(self.trace, self.origin)

    def converter(self) -> Any:
        """TensorFlow's converter for the model, with nothing set."""
        return converter_of(self.trace)

    def content(self, samples: NDArray[np.float32] | None) -> bytes:
        """The bytes of the file, with the layers of its ops in its metadata.

        samples: calibration examples (n, ...); None if the model has its ranges already.

        If keep_float is set or the estimator is not minmax, there are two steps: calibrate a float file, then quantize
        it. Raises StageError if the converter skips examples, or a pattern matches nothing.
        """
        import tensorflow as tf

        step("converting")
        asked, converter = self.asked, self.converter()
        stepwise = bool(self.asked.keep_float) or asked.estimator != "minmax"
        feed = Feed(self.model.input_names[0], () if samples is None else samples, self.report)
        if asked.quantization != "float32" and not (stepwise and samples is None):
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if asked.quantization == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if asked.quantization in INTEGER and not stepwise:
            converter.inference_input_type = converter.inference_output_type = tf.as_dtype(asked.port)
        if not asked.per_channel_dense:
            converter._experimental_disable_per_channel_quantization_for_dense_layers = True
        converter._experimental_disable_per_channel = not asked.per_channel
        if samples is not None:
            converter.target_spec.supported_ops = [
                tf.lite.OpsSet.TFLITE_BUILTINS_INT8
                if asked.quantization == "int8"
                else tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
            ]
            converter.representative_dataset = feed
            converter._experimental_calibrate_only = stepwise
        with refusals(asked.quantization):
            content: bytes = converter.convert()
        if samples is not None and feed.given < len(samples):
            raise StageError(Fault("the converter must observe every calibration example", received=str(feed.given)))
        if stepwise:
            content = self._rounded(content, samples)
        content = scales.mended(content) if asked.quantization == "int8" else content
        content = self.layers.embedded(content)
        if asked.quantization == "int8":
            content = self.layers.embedded(self._in_integers(content, samples is None))
        if asked.keep_int16:
            content = self.layers.embedded(self._widened(content))
        return content

    def _rounded(self, content: bytes, samples: NDArray[np.float32] | None) -> bytes:
        """Quantize a float file that contains ranges to int8, except for the layers in keep_float."""
        import tensorflow as tf
        from tensorflow.lite.python.convert import mlir_quantize

        asked = self.asked
        if asked.estimator != "minmax" and samples is not None:
            content = estimated(content, samples, asked.estimator, asked.percentile, self.report)
        ops = NamedOps(self.layers.embedded(content))
        stay = ops.kept(asked.keep_float, "keep_float", "quantization: float32")
        with refusals(asked.quantization):
            rounded: bytes = mlir_quantize(
                content,
                disable_per_channel=not asked.per_channel,
                disable_per_channel_for_dense_layers=not asked.per_channel_dense,
                input_data_type=tf.as_dtype(asked.port),
                output_data_type=tf.as_dtype(asked.port),
                denylisted_nodes=[tensor.name for op in stay for tensor in op.outputs],
            )
        return rounded

    def _widened(self, content: bytes) -> bytes:
        """The int8 file with int16 activations in the layers in keep_int16."""
        chosen = NamedOps(content).kept(self.asked.keep_int16, "keep_int16", "quantization: int16x8")
        return widened(content, chosen)

    def _in_integers(self, content: bytes, trained: bool) -> bytes:
        """The int8 file with functions that have no int8 kernel as tables, except for the layers that are kept."""
        patterns = (*self.asked.keep_float, *self.asked.keep_int16)
        kept = NamedOps(content).matching(patterns) if patterns else ()
        return in_integers(content, self.asked.kernels, {op.index for op in kept}, trained)

    def kept(self, content: bytes) -> Iterator[str]:
        """Notes on the layers of the finished file that are not int8 because keep_float or keep_int16 requested it."""
        ops = NamedOps(content)
        for dtype, patterns in (("float32", self.asked.keep_float), ("int16", self.asked.keep_int16)):
            if patterns:
                yield f"{dtype} as asked: {ops.listed(ops.matching(patterns))}"

    def floats(self, content: bytes) -> list[tflite.FloatUse]:
        """Where an integer file uses floats without a request for it, which the converter does not report."""
        ops = NamedOps(content)
        if ops.model.quantization in (*INTEGER, "int8x4"):
            return []
        if not (self.asked.keep_float or self.asked.keep_int16):
            return list(ops.model.floats())
        asked = {op.index for op in ops.matching(self.asked.keep_float)}
        inner = (use for use in ops.model.floats() if use.role in ("reads", "writes") and use.op not in BORDER)
        return [use for use in inner if use.index not in asked]
