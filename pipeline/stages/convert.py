"""The stage `convert`: convert a Keras model to a .tflite file."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fnmatch import filter as matching
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from typing_extensions import Self

from pipeline import tflite
from pipeline.core.errors import Fault, PlacedFault, StageError
from pipeline.data import contract
from pipeline.data.source import Data
from pipeline.keras import tf
from pipeline.keras.conversion import bias_correction
from pipeline.keras.conversion.calibration import KEPT, Calibration, Sample, check_input, draw
from pipeline.keras.conversion.conversion import INTEGER, Conversion, Request
from pipeline.keras.conversion.estimators import Estimator
from pipeline.keras.conversion.halves import decided, spread_of
from pipeline.keras.layer_choice import unmatched
from pipeline.keras.layer_values import require_finite
from pipeline.keras.types import KerasModel
from pipeline.stages.follower import Follower, nearest
from pipeline.stages.sidecar import read_facts, write_facts
from pipeline.stages.stage import TFLITE, Inputs, Stage
from pipeline.stages.worst import Worst
from pipeline.tflite import metadata
from pipeline.verify import int8
from pipeline.verify.interpreters import litert

if TYPE_CHECKING:
    from pipeline.verify.targets import Target

PARITY = 32  # examples on which a calibrated file is compared with the Keras model
Keeps = Literal["keep_float", "keep_int16"]
KEEPS: tuple[Keeps, ...] = ("keep_float", "keep_int16")  # settings that name layers of an int8 file that are not int8
_FLOAT = ("float32", "float16")  # quantizations without scales
_IO = {"int8": ("int8", "uint8", "float32"), "int16x8": ("int16", "float32")}  # the first is the default
Patterns = Annotated[tuple[str, ...], Field(strict=False)]


class Convert(Follower):
    """Convert a Keras model to TensorFlow Lite, with a static batch of one and Keras's names of inputs and outputs.

    A model from quantization-aware training has learnt its activation ranges. It is converted without calibration
    first, and calibrated only if float tensors remain.
    """

    takes = "keras"
    gives = "tflite"
    libraries = ("tensorflow", "tf_keras", "tensorflow-model-optimization", "numpy")

    stage: Literal["convert"]
    quantization: Literal["float32", "float16", "dynamic", "int8", "int16x8"]
    """Type of weights and activations: `float32`; `float16` weights; `dynamic` (int8 weights, float activations);
    `int8`; or `int16x8` (int16 activations, int8 weights)."""
    io: Literal["int8", "uint8", "int16", "float32"] | None = None
    """Type of inputs and outputs. Default: int8 for `int8`, int16 for `int16x8`, float32 otherwise; or a type that the
    run's target supports, if it does not support that one."""
    calibration: Calibration | None = None
    """How int8 and int16x8 get their activation ranges. Default: from 200 examples."""

    per_channel_dense: bool | None = None
    """Quantize the weights of dense layers with one scale per unit; false: one scale per layer. Default: what the run's
    target supports; true without a target."""
    per_channel: bool = True
    """Quantize weights with one scale per channel; false: one scale per layer, as some accelerators require. After a
    qat stage the file has that stage's `per_channel`, and false here needs false there."""
    keep_float: Patterns | Worst = ()
    """Layers of an int8 file that compute in float32: names or patterns (`block1*`), ops (`SOFTMAX`), or
    `{worst: 2}` for the most sensitive ones by the sensitivity stage directly above."""
    keep_int16: Patterns | Worst = ()
    """Layers of an int8 file with int16 activations and int8 weights; same values as `keep_float`."""

    bias_correction: bool = False
    """Correct biases by the mean shift that rounding causes in each channel, measured on calibration examples. int8
    only."""

    @model_validator(mode="after")
    def _settings_fit(self) -> "Convert":
        if self.bias_correction and self.quantization != "int8":
            raise ValueError(f"bias_correction: has no effect on {self.quantization}; only int8 is corrected")
        if self.io is not None and self.io not in self._ports:
            raise ValueError(f"io: must be {' or '.join(self._ports)} for {self.quantization}")
        if self.calibration is not None and self.quantization not in INTEGER:
            raise ValueError(f"calibration: has no effect on {self.quantization}; only int8 and int16x8 calibrate")
        if self.calibration and self.calibration.ranges != "minmax" and self.quantization != "int8":
            raise ValueError(f"calibration.ranges: must be minmax for {self.quantization}; the others are of 8 bits")
        if self.calibration and self.calibration.percentile != KEPT and self.estimator != "percentile":
            raise ValueError(f"calibration.percentile: has no effect where ranges is {self.estimator}")
        if not self.per_channel and self.quantization not in ("int8", "dynamic"):
            raise ValueError(f"per_channel: must be true for {self.quantization}; false is for int8 and dynamic")
        if not self.per_channel and self.per_channel_dense:
            raise ValueError("per_channel_dense: can't be true where per_channel is false")
        for setting in KEEPS:
            if getattr(self, setting) and self.quantization != "int8":
                raise ValueError(f"{setting}: is for int8 files alone")
        return self

    def aimed_at(self, target: "Target | None") -> Self:
        """Return this stage with `io` and `per_channel_dense` resolved: nothing else of the target affects the file."""
        given = dict(self._of_target(target)) if target else {}
        resolved = {"io": self.port, "per_channel_dense": self.per_channel and self.per_channel_dense is not False}
        resolved |= given
        stage = self.model_copy(update=resolved)
        stage._aimed = dict.fromkeys(given, target.name if target else "")
        return stage

    def _of_target(self, target: "Target") -> Iterator[tuple[str, Any]]:
        """Yield the settings that were left out and that the target decides, with their values."""
        if self.per_channel_dense is None and self.per_channel and self.quantization not in _FLOAT:
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
        """Type of inputs and outputs, with the default resolved."""
        return self.io or self._ports[0]

    @property
    def estimator(self) -> Estimator:
        """The estimator of activation ranges, with the default resolved."""
        return self.calibration.ranges if self.calibration else "minmax"

    def unfit_behind(self, above: Sequence[Stage]) -> Iterator[PlacedFault]:
        yield from super().unfit_behind(above)
        if aware := nearest(above, "qat"):
            yield from self._unfit_trained(aware)
        for setting in KEEPS:
            if isinstance(getattr(self, setting), Worst) and above[0].kind != "sensitivity":
                rule, do = "needs the ranking of a sensitivity stage right above", "put one there"
                yield (setting,), Fault(rule, received=f"{above[0].label!r}", do=do)

    def _unfit_trained(self, aware: Stage) -> Iterator[PlacedFault]:
        """Yield the settings that don't fit a model that the qat stage `aware` trained."""
        before = "convert the stage above it instead, with `from:`"
        if self.quantization != "int8":
            rule = f"{aware.label} trains 8-bit ranges, which convert to int8 only"
            yield ("quantization",), Fault(rule, received=self.quantization, do=before)
        if self.estimator != "minmax":
            rule = f"{aware.label} has learnt its ranges"
            yield ("calibration", "ranges"), Fault(rule, received=self.estimator, do=before)
        if not self.per_channel and getattr(aware, "per_channel", True):
            rule = f"{aware.label} trains with a scale for each channel, and the file has what was trained"
            yield ("per_channel",), Fault(rule, received="false", do=f"set per_channel: false on {aware.label} too")
        if self.bias_correction:
            rule = f"{aware.label} has taught the biases what 8 bits do; they can't be corrected again"
            yield ("bias_correction",), Fault(rule, received="true", do="leave it out")

    def unmatched(self, model: KerasModel) -> Iterator[PlacedFault]:
        ops = tflite.op_names().values()
        for setting in KEEPS:
            patterns = getattr(self, setting)
            named = patterns if isinstance(patterns, tuple) else ()
            yield from unmatched(model, {setting: [each for each in named if not matching(ops, each)]})

    def run(self, inputs: Inputs, work: Path) -> None:
        tf.start(inputs.seed)
        model = tf.load_model(inputs.source.keras)
        require_finite(model, inputs.data)
        above = read_facts(inputs.source.path)
        conversion = Conversion(
            self._request(inputs.source.path), model, inputs.data.spec().shape, above.get("origin", {}), inputs.report
        )
        sample = draw(inputs.data, self.calibration, inputs.seed) if self.quantization in INTEGER else None
        aware = bool(above.get("quantized"))
        content, calibrated = _converted(conversion, sample, aware)
        rows: list[dict[str, Any]] = []
        notes: list[str] = []
        if self.bias_correction and sample is not None:
            content, rows = _corrected(conversion, content, sample.x)
            notes.append(bias_correction.note(rows))
        content = metadata.embedded(content, contract.NAME, inputs.data.contract().encoded())
        notes += conversion.kept(content)
        used: dict[str, Any] | None = None
        if sample is not None:
            if self.estimator == "minmax":
                check_input(content, sample)
            notes += (*_remaining(conversion.floats(content)), *_breaches(content))
            if aware and calibrated:
                notes.append(_parity(content, model, sample))
            if calibrated:
                used = {"samples": len(sample.x), "sha256": sample.sha256, "ranges": self.estimator}
                if self.calibration and self.calibration.halves:
                    used["halves"] = spread = _halves(conversion, sample, inputs.data, self.bias_correction)
                    notes.append(spread_of(spread))
        (work / TFLITE).write_bytes(content)
        write_facts(work, layers=rows, notes=notes, calibration=used)

    def _request(self, above: Path) -> Request:
        """The request for the converter. `above` is the directory of the stage above, which may hold a ranking."""
        return Request(
            self.quantization,
            self.port,
            self.per_channel,
            self.per_channel_dense is not False,
            self.estimator,
            self.calibration.percentile if self.calibration else KEPT,
            **{setting: self._names(setting, above) for setting in KEEPS},
        )

    def _names(self, setting: Keeps, above: Path) -> tuple[str, ...]:
        """Names or patterns of the layers that `setting` selects."""
        kept: tuple[str, ...] | Worst = getattr(self, setting)
        return kept.names(above) if isinstance(kept, Worst) else kept


def _converted(conversion: Conversion, sample: Sample | None, aware: bool) -> tuple[bytes, bool]:
    """The file's bytes, and whether calibration was used for them.

    aware: whether the model comes from quantization-aware training, and so has learnt its ranges.
    """
    if aware:
        content = conversion.content(None)
        floats = conversion.floats(content)
        if not floats:
            return content, False
        if conversion.asked.keep_float:
            rule = "keep_float: after qat, takes a model whose other layers are all trained quantization-aware"
            raise StageError(Fault(rule, received=str(floats[0]), do="convert the stage before qat instead"))
    return conversion.content(sample.x if sample else None), sample is not None


def _corrected(conversion: Conversion, content: bytes, x: NDArray[np.float32]) -> tuple[bytes, list[dict[str, Any]]]:
    """The file with its biases corrected on examples x (n, ...), and a report row for each op with weights."""
    plain: bytes = conversion.converter().convert()
    return bias_correction.corrected(content, plain, x, conversion.report)


def _halves(conversion: Conversion, sample: Sample, data: Data, corrected: bool) -> dict[str, Any]:
    """How much two files differ that are calibrated on disjoint halves of the examples: the effect of the random draw.

    range is the largest relative difference of a tensor's scale. For classifiers, decisions is the share of validation
    examples that the two files classify differently, and accuracy that of each file on them, a fraction.
    """
    quiet = replace(conversion, report=lambda progress: None)
    halves = (sample.x[0::2], sample.x[1::2])
    files = [quiet.content(half) for half in halves]
    if corrected:
        files = [_corrected(quiet, file, half)[0] for file, half in zip(files, halves, strict=True)]
    scales = [np.array([t.scale for t in tflite.read(file).subgraphs[0].tensors if t.scale]) for file in files]
    return {
        "range": float(np.max(np.abs(scales[0] / scales[1] - 1))) if len(scales[0]) == len(scales[1]) else 1.0,
        **decided(files, data.split("validation"), data.spec()),
    }


def _remaining(floats: Sequence[tflite.FloatUse]) -> Iterator[str]:
    """A note on the tensors that are not integer, if there are any."""
    if floats:
        yield f"{len(floats)} tensors are not integer: {'; '.join(map(str, floats[:5]))}"


def _parity(content: bytes, model: KerasModel, sample: Sample) -> str:
    """A note on how close a calibrated file is to the Keras model from quantization-aware training."""
    x = sample.x[:PARITY]
    step = tflite.read(content).outputs[0].scale or 1.0
    error = np.abs(litert.run(content, x) - np.asarray(model(x, training=False), np.float32)) / step
    return (
        f"floats remained after qat, so {len(sample.x)} examples calibrated them; outputs differ from the Keras "
        f"model's by {error.max():.1f} steps at most and {error.mean():.2f} on average"
    )


def _breaches(content: bytes) -> Iterator[str]:
    """Notes on violations of the int8 specification. Raises StageError for rules that kernels rely on."""
    found = [finding for finding in int8.breaches(tflite.read(content)) or () if finding.severity == "fail"]
    if wrong := [finding for finding in found if finding.rule in int8.COUNTED_ON]:
        rule = "the converter made a file that does not run or computes wrong numbers, by the int8 specification"
        do = "convert to another quantization, or replace the layers that these ops are of"
        raise StageError(*(Fault(rule, received=str(finding), do=do) for finding in wrong[:3]))
    others = [finding for finding in found if finding.rule != "R1"]  # `_remaining` notes these
    yield from (f"breaks the int8 specification: {finding}" for finding in others[:3])
