"""Convert a Keras model to TensorFlow Lite."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from pipeline import litert, tf, tflite
from pipeline.errors import Fault, StageError
from pipeline.stage import Examples, Inputs, Progress, Stage
from pipeline.stages.calibration import Calibration, Sample, check_input, draw
from pipeline.stages.sidecar import read_facts, write_facts
from pipeline.tflite import int8

if TYPE_CHECKING:
    import tensorflow
    import tf_keras

PARITY = 32  # examples on which a calibrated file is compared with the Keras model
INTEGER = ("int8", "int16x8")
_IO = {"int8": ("int8", "uint8", "float32"), "int16x8": ("int16", "float32")}  # the first is the default


class Convert(Stage):
    """Convert with a static batch of one, from a function whose inputs and outputs carry the Keras names.

    A model that was trained quantization-aware carries its own ranges, so it is converted without calibration first,
    and calibrated only where floats remain.
    """

    takes = "keras"
    gives = "tflite"
    libraries = ("tensorflow", "tf_keras", "tensorflow-model-optimization", "numpy")

    stage: Literal["convert"]
    quantization: Literal["float32", "float16", "dynamic", "int8", "int16x8"]
    """What the weights and activations are stored and computed in."""
    io: Literal["int8", "uint8", "int16", "float32"] | None = None
    """Type of the inputs and outputs; int8 for int8, int16 for int16x8 and float32 for the others when left out."""
    calibration: Calibration | None = None
    """What int8 and int16x8 take their activation ranges from; 200 examples when left out."""

    per_channel_dense: bool = True
    """A scale for each unit of a dense layer; false for kernels that take one, as those of rp2040 and esp32-s3 do."""

    @model_validator(mode="after")
    def _settings_fit(self) -> "Convert":
        allowed = _IO.get(self.quantization, ("float32",))
        if self.io is not None and self.io not in allowed:
            raise ValueError(f"io: must be {' or '.join(allowed)} for {self.quantization}")
        if self.calibration is not None and self.quantization not in INTEGER:
            raise ValueError(f"calibration: has no effect on {self.quantization}; only int8 and int16x8 calibrate")
        return self

    @property
    def port(self) -> str:
        """The resolved type of inputs and outputs."""
        return self.io or _IO.get(self.quantization, ("float32",))[0]

    def run(self, inputs: Inputs, work: Path) -> None:
        tf.start(inputs.seed)
        model = tf.load_model(inputs.source.path / "model.h5")
        aware = bool(read_facts(inputs.source.path).get("quantized"))
        if aware and self.quantization != "int8":
            raise StageError(
                Fault(
                    "a model trained quantization-aware holds 8-bit ranges and converts to int8 only",
                    received=self.quantization,
                    do=f"convert the stage above {inputs.source.name!r} instead",
                )
            )
        sample = draw(inputs.data, self.calibration, inputs.seed) if self.quantization in INTEGER else None
        content, calibrated = self._content(model, aware, sample, inputs.report)
        notes: list[str] = []
        used: dict[str, Any] | None = None
        if sample is not None:
            check_input(content, sample)
            notes += _remaining(content)
            if aware and calibrated:
                notes.append(_parity(content, model, sample))
            if calibrated:
                used = {"samples": len(sample.x), "sha256": sample.sha256}
                if self.calibration and self.calibration.halves:
                    used["halves"] = spread = self._halves(model, sample, inputs.data.split("validation"))
                    notes.append(
                        f"calibrated on either half of the examples, ranges differ by up to {spread['range']:.1%} and "
                        f"{spread['decisions']:.1%} of the decisions on the validation split"
                    )
        (work / "model.tflite").write_bytes(content)
        write_facts(work, notes=notes, calibration=used)

    def _content(
        self, model: "tf_keras.Model", aware: bool, sample: Sample | None, report: Callable[[Progress], None]
    ) -> tuple[bytes, bool]:
        """The file's bytes, and whether calibration had a part in them."""
        if aware:
            content = self._convert(model, None)
            if tflite.read(content).quantization == "int8":
                return content, False
        return self._convert(model, sample.x if sample else None, report), sample is not None

    def _halves(self, model: "tf_keras.Model", sample: Sample, validation: Examples) -> dict[str, float]:
        """How far two disjoint halves of the examples move the file: a random draw's part in the result.

        range is the largest relative difference of a tensor's scale, decisions the share of validation examples.
        """
        files = [self._convert(model, half) for half in (sample.x[0::2], sample.x[1::2])]
        scales = [np.array([t.scale for t in tflite.read(file).subgraphs[0].tensors if t.scale]) for file in files]
        x, _ = validation.batch(np.arange(len(validation)))
        decisions = [litert.run(file, x).argmax(axis=1) for file in files]
        return {
            "range": float(np.max(np.abs(scales[0] / scales[1] - 1))) if len(scales[0]) == len(scales[1]) else 1.0,
            "decisions": float(np.mean(decisions[0] != decisions[1])),
        }

    def _convert(
        self,
        model: "tf_keras.Model",
        samples: NDArray[np.float32] | None,
        report: Callable[[Progress], None] = lambda progress: None,
    ) -> bytes:
        import tensorflow as tf

        function = _function(model)
        holder = tf.Module()  # of the variables alone: given the model, the converter would trace every layer anew
        holder.variables_of_the_model = model.variables
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function], holder)
        if self.quantization != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if self.quantization == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if self.quantization in INTEGER:
            converter.inference_input_type = converter.inference_output_type = tf.as_dtype(self.port)
        if not self.per_channel_dense:
            converter._experimental_disable_per_channel_quantization_for_dense_layers = True
        if samples is not None:
            converter.target_spec.supported_ops = [
                tf.lite.OpsSet.TFLITE_BUILTINS_INT8
                if self.quantization == "int8"
                else tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
            ]
            feed = _Feed(model.input_names[0], samples, report)
            converter.representative_dataset = feed
        content: bytes = converter.convert()
        if samples is not None and feed.given < len(samples):
            raise StageError(Fault("the converter must observe every calibration example", received=str(feed.given)))
        return content


class _Feed:
    """A representative dataset that feeds examples by the input's name and counts what the converter took."""

    def __init__(self, name: str, samples: NDArray[np.float32], report: Callable[[Progress], None]) -> None:
        self.name, self.samples, self.report = name, samples, report
        self.given = 0

    def __call__(self) -> Iterator[dict[str, NDArray[np.float32]]]:
        for sample in self.samples:
            self.given += 1
            yield {self.name: sample[np.newaxis]}
        self.report(Progress("calibration example", self.given, len(self.samples), {}))


def _function(model: "tf_keras.Model") -> Any:
    """The model at batch 1 as a concrete function with named inputs and outputs.

    tfmot prefixes the layers it wraps with `quant_`; the names that an app uses stay those of the plain model.
    """
    import tensorflow as tf

    outputs = [name.removeprefix("quant_") for name in model.output_names]
    signature = {
        name: tf.TensorSpec([1, *tensor.shape[1:]], tensor.dtype, name=name)
        for name, tensor in zip(model.input_names, model.inputs, strict=True)
    }

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def forward(inputs: dict[str, "tensorflow.Tensor"]) -> dict[str, "tensorflow.Tensor"]:
        return dict(zip(outputs, tf.nest.flatten(model(inputs, training=False)), strict=True))

    return forward.get_concrete_function(signature)


def _parity(content: bytes, model: "tf_keras.Model", sample: Sample) -> str:
    """How close a calibrated file is to the Keras model that was trained quantization-aware.

    StageError when a bias has not the scale of its input times its weights': the converter mixes the two kinds of
    ranges, and such a file runs without a word and gives wrong results.
    """
    file = tflite.read(content)
    wrong = [str(found) for found in int8.findings(file) or () if found.rule == "R7"]
    if wrong:
        rule = "each bias must have the scale of its input times its weights' after calibration of a model of qat"
        do = "convert the stage above qat instead, and report the network to the authors of edgepipe"
        raise StageError(Fault(rule, received="; ".join(wrong[:3]), do=do))
    x = sample.x[:PARITY]
    step = file.outputs[0].scale or 1.0
    error = np.abs(litert.run(content, x) - np.asarray(model(x, training=False), np.float32)) / step
    return (
        f"floats remained after qat, so {len(sample.x)} examples calibrated them; outputs differ from the Keras "
        f"model's by {error.max():.1f} steps at most and {error.mean():.2f} on average"
    )


def _remaining(content: bytes) -> Iterator[str]:
    """A note when an integer conversion left float tensors: the converter itself says nothing."""
    model = tflite.read(content)
    floats = model.floats()
    if model.quantization not in INTEGER:
        yield f"{len(floats)} tensors are not integer: {'; '.join(map(str, floats[:5]))}"
