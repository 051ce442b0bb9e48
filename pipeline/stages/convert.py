"""Convert a Keras model to TensorFlow Lite."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveInt, model_validator

from pipeline import tf, tflite
from pipeline.errors import Fault, InputError, StageError
from pipeline.stage import Inputs, Progress, Stage, Strict, array_sha256
from pipeline.stages.training import read_facts, write_facts

if TYPE_CHECKING:
    import tensorflow
    import tf_keras

INTEGER = ("int8", "int16x8")
SAMPLES = 200  # of calibration when the config names no number
_IO = {"int8": ("int8", "uint8", "float32"), "int16x8": ("int16", "float32")}  # the first is the default


class Calibration(Strict):
    """The representative dataset, drawn by seed from the calibration split."""

    samples: PositiveInt | None = None
    """Examples that the converter observes; 200, or all of the split when it has fewer, when left out."""


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

    @model_validator(mode="after")
    def _settings_fit(self) -> "Convert":
        allowed = _IO.get(self.quantization, ("float32",))
        if self.io is not None and self.io not in allowed:
            raise ValueError(f"io of {self.quantization} must be {' or '.join(allowed)}, and not {self.io}")
        if self.calibration is not None and self.quantization not in INTEGER:
            raise ValueError(f"calibration has no effect on {self.quantization}; only int8 and int16x8 calibrate")
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
        samples = self._samples(inputs) if self.quantization in INTEGER else None
        content, calibrated = self._content(model, aware, samples, inputs.report)
        notes = list(_remaining(content)) if self.quantization in INTEGER else []
        (work / "model.tflite").write_bytes(content)
        used = (
            {"samples": len(samples), "sha256": array_sha256(samples)} if samples is not None and calibrated else None
        )
        write_facts(work, notes=notes, calibration=used)

    def _content(
        self,
        model: "tf_keras.Model",
        aware: bool,
        samples: NDArray[np.float32] | None,
        report: Callable[[Progress], None],
    ) -> tuple[bytes, bool]:
        """The file's bytes, and whether calibration had a part in them."""
        if aware:
            content = self._convert(model, None)
            if tflite.read(content).integer_only or self.port == "float32":
                return content, False
        return self._convert(model, samples, report), samples is not None

    def _samples(self, inputs: Inputs) -> NDArray[np.float32]:
        """The representative examples (n, ...), checked: as many as asked, and finite."""
        split = inputs.data.split("calibration")
        asked = self.calibration.samples if self.calibration else None
        count = asked or min(len(split), SAMPLES)
        if len(split) < count:
            raise InputError(
                Fault(
                    f"calibration.samples asks for {count} examples",
                    received=f"{len(split)} in the calibration split",
                    do="ask for fewer, or raise data.splits.calibration",
                )
            )
        chosen = np.random.default_rng([inputs.seed, 0xCA11B]).permutation(len(split))[:count]
        samples, _ = split.batch(np.sort(chosen))
        if not np.isfinite(samples).all():
            raise InputError(Fault("calibration examples must be finite", received="NaN or infinity"))
        return samples

    def _convert(
        self,
        model: "tf_keras.Model",
        samples: NDArray[np.float32] | None,
        report: Callable[[Progress], None] = lambda progress: None,
    ) -> bytes:
        import tensorflow as tf

        function = _function(model)
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
        if self.quantization != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if self.quantization == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if self.quantization in INTEGER:
            converter.inference_input_type = converter.inference_output_type = tf.as_dtype(self.port)
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


def _remaining(content: bytes) -> Iterator[str]:
    """A note when an integer conversion left float tensors: the converter itself says nothing."""
    floats = tflite.read(content).floats()
    if floats:
        yield f"{len(floats)} tensors are not integer: {'; '.join(map(str, floats[:5]))}"
