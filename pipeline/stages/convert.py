"""Convert a Keras model to TensorFlow Lite."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator
from typing_extensions import Self

from pipeline import contract, litert, tf, tflite
from pipeline.errors import Fault, StageError
from pipeline.stage import Data, Examples, Inputs, Progress, Spec, Stage
from pipeline.stages import bias_correction
from pipeline.stages.calibration import Calibration, Sample, check_input, draw
from pipeline.stages.follower import Finding, Follower, nearest
from pipeline.stages.sidecar import read_facts, write_facts
from pipeline.tflite import int8

if TYPE_CHECKING:
    import tensorflow
    import tf_keras

    from pipeline.targets import Target

PARITY = 32  # examples on which a calibrated file is compared with the Keras model
INTEGER = ("int8", "int16x8")
_FLOAT = ("float32", "float16")  # have no scales
_IO = {"int8": ("int8", "uint8", "float32"), "int16x8": ("int16", "float32")}  # the first is the default


class Convert(Follower):
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
    """Type of the inputs and outputs. When left out int8 for int8, int16 for int16x8 and float32 for the others, or
    another that fits where the run's target does not take that."""
    calibration: Calibration | None = None
    """What int8 and int16x8 take their activation ranges from; 200 examples when left out."""

    per_channel_dense: bool | None = None
    """A scale for each unit of a dense layer, or one for all; what the run's target takes when left out, and true
    without a target."""

    bias_correction: bool = False
    """Take the mean shift that rounding puts on each channel, as seen on calibration examples, out of the biases; for
    int8 alone."""

    @model_validator(mode="after")
    def _settings_fit(self) -> "Convert":
        if self.bias_correction and self.quantization != "int8":
            raise ValueError(f"bias_correction: has no effect on {self.quantization}; only int8 is corrected")
        if self.io is not None and self.io not in self._ports:
            raise ValueError(f"io: must be {' or '.join(self._ports)} for {self.quantization}")
        if self.calibration is not None and self.quantization not in INTEGER:
            raise ValueError(f"calibration: has no effect on {self.quantization}; only int8 and int16x8 calibrate")
        return self

    def aimed_at(self, target: "Target | None") -> Self:
        """With `io` and `per_channel_dense` resolved: only these of the target's fields decide the file."""
        given = dict(self._of_target(target)) if target else {}
        resolved = {"io": self.port, "per_channel_dense": self.per_channel_dense is not False} | given
        stage = self.model_copy(update=resolved)
        stage._aimed = dict.fromkeys(given, target.name if target else "")
        return stage

    def _of_target(self, target: "Target") -> Iterator[tuple[str, Any]]:
        """The settings that are left out and that a target decides."""
        if self.per_channel_dense is None and self.quantization not in _FLOAT:
            yield "per_channel_dense", target.per_channel_dense
        sides = [set(types) for types in (target.inputs, target.outputs) if types is not None]
        fitting = [port for port in self._ports if all(port in types for types in sides)]
        if self.io is None and fitting:
            yield "io", fitting[0]

    @property
    def _ports(self) -> tuple[str, ...]:
        return _IO.get(self.quantization, ("float32",))

    @property
    def port(self) -> str:
        """The resolved type of inputs and outputs."""
        return self.io or self._ports[0]

    def unfit_behind(self, above: Sequence[Stage]) -> Iterator[Finding]:
        yield from super().unfit_behind(above)
        aware = nearest(above, "qat")
        if aware and self.quantization != "int8":
            rule = f"{aware.label} trains 8-bit ranges, which convert to int8 only"
            do = "convert the stage above it instead, with `from:`"
            yield ("quantization",), Fault(rule, received=self.quantization, do=do)
        if aware and self.bias_correction:
            rule = f"{aware.label} has taught the biases what 8 bits do; they can't be corrected again"
            yield ("bias_correction",), Fault(rule, received="true", do="leave it out")

    def run(self, inputs: Inputs, work: Path) -> None:
        tf.start(inputs.seed)
        model = tf.load_model(inputs.source.path / "model.h5")
        aware = bool(read_facts(inputs.source.path).get("quantized"))
        sample = draw(inputs.data, self.calibration, inputs.seed) if self.quantization in INTEGER else None
        content, calibrated = self._content(model, aware, sample, inputs.report)
        rows: list[dict[str, Any]] = []
        notes: list[str] = []
        if self.bias_correction and sample is not None:
            plain = self.model_copy(update={"quantization": "float32"})._convert(model, None)
            content, rows = bias_correction.corrected(content, plain, sample.x, inputs.report)
            notes.append(bias_correction.note(rows))
        content = contract.embed(content, inputs.data.contract())
        used: dict[str, Any] | None = None
        if sample is not None:
            check_input(content, sample)
            notes += (*_remaining(content), *_breaches(content))
            if aware and calibrated:
                notes.append(_parity(content, model, sample))
            if calibrated:
                used = {"samples": len(sample.x), "sha256": sample.sha256}
                if self.calibration and self.calibration.halves:
                    used["halves"] = spread = self._halves(model, sample, inputs.data)
                    notes.append(_spread(spread))
        (work / "model.tflite").write_bytes(content)
        write_facts(work, layers=rows, notes=notes, calibration=used)

    def _content(
        self, model: "tf_keras.Model", aware: bool, sample: Sample | None, report: Callable[[Progress], None]
    ) -> tuple[bytes, bool]:
        """The file's bytes, and whether calibration had a part in them."""
        if aware:
            content = self._convert(model, None)
            if tflite.read(content).quantization in ("int8", "int8x4"):
                return content, False
        return self._convert(model, sample.x if sample else None, report), sample is not None

    def _halves(self, model: "tf_keras.Model", sample: Sample, data: Data) -> dict[str, Any]:
        """How far two disjoint halves of the examples move the file: a random draw's part in the result.

        range is the largest relative difference of a tensor's scale. Where something is decided, decisions is the share
        of validation examples that they decide differently, and accuracy that of each half on them, a fraction.
        """
        files = [self._convert(model, half) for half in (sample.x[0::2], sample.x[1::2])]
        scales = [np.array([t.scale for t in tflite.read(file).subgraphs[0].tensors if t.scale]) for file in files]
        return {
            "range": float(np.max(np.abs(scales[0] / scales[1] - 1))) if len(scales[0]) == len(scales[1]) else 1.0,
            **_decided(files, data.split("validation"), data.spec()),
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
        if self.per_channel_dense is False:
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


def _decided(files: Sequence[bytes], examples: Examples, spec: Spec) -> dict[str, Any]:
    """How far two files are apart in what they decide; empty where nothing is decided."""
    if not spec.task.decides:
        return {}
    x, y = examples.batch(np.arange(len(examples)))
    one, other = (spec.task.decisions(spec.task.rows(litert.run(file, x), spec)) for file in files)
    accuracy = [float(np.mean(decided == y)) for decided in (one, other)]
    apart = abs(accuracy[0] - accuracy[1])
    return {"decisions": float(np.mean(one != other)), "accuracy": accuracy, "accuracy_spread": apart}


def _spread(halves: dict[str, Any]) -> str:
    """The same in words."""
    text = f"calibrated on either half of the examples, ranges differ by up to {halves['range']:.1%}"
    if "decisions" not in halves:
        return text
    one, other = halves["accuracy"]
    return (
        f"{text} and {halves['decisions']:.1%} of the decisions on the validation split, where accuracy is {one:.1%} "
        f"and {other:.1%}: {100 * halves['accuracy_spread']:.2f} points apart"
    )


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
    """How close a calibrated file is to the Keras model that was trained quantization-aware."""
    x = sample.x[:PARITY]
    step = tflite.read(content).outputs[0].scale or 1.0
    error = np.abs(litert.run(content, x) - np.asarray(model(x, training=False), np.float32)) / step
    return (
        f"floats remained after qat, so {len(sample.x)} examples calibrated them; outputs differ from the Keras "
        f"model's by {error.max():.1f} steps at most and {error.mean():.2f} on average"
    )


def _remaining(content: bytes) -> Iterator[str]:
    """A note when an integer conversion left float tensors: the converter itself says nothing."""
    model = tflite.read(content)
    floats = model.floats()
    if model.quantization not in (*INTEGER, "int8x4"):
        yield f"{len(floats)} tensors are not integer: {'; '.join(map(str, floats[:5]))}"


def _breaches(content: bytes) -> Iterator[str]:
    """A note for what breaks the int8 specification; StageError where kernels count on what is broken."""
    found = [finding for finding in int8.findings(tflite.read(content)) or () if finding.severity == "fail"]
    if wrong := [finding for finding in found if finding.rule in int8.COUNTED_ON]:
        rule = "the converter made a file that does not run or computes wrong numbers, by the int8 specification"
        do = "convert to another quantization, or replace the layers that these ops are of"
        raise StageError(*(Fault(rule, received=str(finding), do=do) for finding in wrong[:3]))
    others = [finding for finding in found if finding.rule != "R1"]  # that is the note on what is not integer
    yield from (f"breaks the int8 specification: {finding}" for finding in others[:3])
