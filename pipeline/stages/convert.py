"""The stage `convert`: convert a Keras model to a .tflite file."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import filter as matching
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, PositiveInt, model_validator
from typing_extensions import Self

from pipeline.core.errors import Fault, PlacedFault
from pipeline.core.settings import Fraction
from pipeline.keras.conversion.calibration import KEPT, Calibration
from pipeline.keras.conversion.estimators import Estimator
from pipeline.keras.conversion.request import INTEGER, MOST_STEPS, Kernels, Request
from pipeline.keras.types import KerasModel
from pipeline.stages.follower import Follower, nearest
from pipeline.stages.stage import Inputs, Stage
from pipeline.stages.worst import Worst

if TYPE_CHECKING:
    from pipeline.verify.targets import Target

Keeps = Literal["keep_float", "keep_int16"]
KEEPS: tuple[Keeps, ...] = ("keep_float", "keep_int16")  # settings that name layers of an int8 file that are not int8
LITERT_ONLY = {"GELU", "EXP"}  # ops whose int8 kernels LiteRT has and TFLM lacks
_FLOAT = ("float32", "float16")  # quantizations without scales
_IO = {"int8": ("int8", "uint8", "float32"), "int16x8": ("int16", "float32")}  # the first is the default
WARN_DROP = 0.05  # 5 points
Patterns = Annotated[tuple[str, ...], Field(strict=False)]


class Convert(Follower):
    """Convert a Keras model to TensorFlow Lite, with a static batch of one and Keras's names of inputs and outputs.

    A model from quantization-aware training has learnt its activation ranges. It is converted without calibration
    first, and calibrated only if float tensors remain.
    """

    takes = "keras"
    gives = "tflite"
    scores = True
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
    kernels: Kernels | None = None
    """Runtimes whose int8 kernels the file may use. `all`: activation functions that not every runtime has become one
    table of 256 entries, the same on LiteRT and TFLM. `litert`: GELU and exponential stay ops, which LiteRT alone has,
    and which are faster there than a table. Default: `litert` if the run's target supports these ops, or else `all`."""
    unroll: PositiveInt = MOST_STEPS
    """Largest number of steps of a GRU, a SimpleRNN or another recurrent layer without an op of its own whose steps
    become ops one after the other, which integer files need: their converter and TFLM take no loop. An int8 LSTM is one
    op, and needs it for `int16x8` alone."""
    keep_float: Patterns | Worst = ()
    """Layers of an int8 file that compute in float32: names or patterns (`block1*`), ops (`SOFTMAX`), or
    `{worst: 2}` for the most sensitive ones by the sensitivity stage directly above."""
    keep_int16: Patterns | Worst = ()
    """Layers of an int8 file with int16 activations and int8 weights; same values as `keep_float`."""

    warn_drop: Fraction = WARN_DROP
    """Loss from which on there is a note: accuracy on validation examples below the Keras model's, as a fraction; 0.05
    is 5 points. For tasks without labels it is the rise of the error, as a fraction of what a constant answer is off
    by. It changes no byte of the file."""
    bias_correction: bool = False
    """Correct biases by the mean shift that rounding causes in each channel, measured on calibration examples. int8
    only."""

    @model_validator(mode="after")
    def _settings_fit(self) -> "Convert":
        if self.bias_correction and self.quantization != "int8":
            raise ValueError(f"bias_correction: has no effect on {self.quantization}; only int8 is corrected")
        if self.io is not None and self.io not in self._ports:
            raise ValueError(f"io: must be {' or '.join(self._ports)} for {self.quantization}")
        if self.quantization == "float32" and self.warn_drop != WARN_DROP:
            raise ValueError("warn_drop: has no effect on float32, which rounds nothing")
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
        if self.kernels and self.quantization != "int8":
            raise ValueError(f"kernels: has no effect on {self.quantization}; only int8 files have tables")
        for setting in KEEPS:
            if getattr(self, setting) and self.quantization != "int8":
                raise ValueError(f"{setting}: is for int8 files alone")
        return self

    def aimed_at(self, target: "Target | None") -> Self:
        """Return this stage with the settings resolved that a target decides: nothing else of it affects the file."""
        given = dict(self._of_target(target)) if target else {}
        resolved = {"io": self.port, "per_channel_dense": self.per_channel and self.per_channel_dense is not False}
        resolved |= {"kernels": self.kernels or "all"} if self.quantization == "int8" else {}
        resolved |= given
        stage = self.model_copy(update=resolved)
        stage._aimed = dict.fromkeys(given, target.name if target else "")
        return stage

    def _of_target(self, target: "Target") -> Iterator[tuple[str, Any]]:
        """Yield the settings that were left out and that the target decides, with their values."""
        if self.per_channel_dense is None and self.per_channel and self.quantization not in _FLOAT:
            yield "per_channel_dense", target.per_channel_dense
        if self.kernels is None and self.quantization == "int8" and target.rules().keys() >= LITERT_ONLY:
            yield "kernels", "litert"
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

    def examine(self, model: KerasModel) -> Iterator[PlacedFault | str]:
        if self.quantization not in INTEGER:
            return
        from pipeline.keras.conversion.unrolling import loops, refusal, steps_of
        from pipeline.keras.surgery.flat import flat

        for layer in loops(flat(model), self.quantization):
            if (steps_of(layer) or self.unroll + 1) > self.unroll:
                yield ("unroll",), refusal(layer, self.quantization, self.unroll)

    def layers_named(self) -> Mapping[str, Iterable[str]]:
        patterns = {setting: kept for setting in KEEPS if (kept := getattr(self, setting)) and isinstance(kept, tuple)}
        if not patterns:
            return {}
        from pipeline import tflite

        ops = tflite.op_names().values()
        return {name: [each for each in given if not matching(ops, each)] for name, given in patterns.items()}

    def run(self, inputs: Inputs, work: Path) -> None:
        from pipeline.stages import conversion  # and with it the file format and runtimes: the settings need neither

        request = self._request(inputs.source.path)
        conversion.convert(request, self.calibration, self.bias_correction, self.warn_drop, inputs, work)

    def _request(self, above: Path) -> Request:
        """The request for the converter. `above` is the directory of the stage above, which may hold a ranking."""
        return Request(
            self.quantization,
            self.port,
            self.per_channel,
            self.per_channel_dense is not False,
            self.estimator,
            self.calibration.percentile if self.calibration else KEPT,
            self.kernels or "all",
            self.unroll,
            **{setting: self._names(setting, above) for setting in KEEPS},
        )

    def plain(self) -> Request:
        """The request without what depends on trained weights: estimators of ranges, and layers that are kept."""
        dense = self.per_channel_dense is not False
        return Request(self.quantization, self.port, self.per_channel, dense, "minmax", KEPT, self.kernels or "all")

    def _names(self, setting: Keeps, above: Path) -> tuple[str, ...]:
        """Names or patterns of the layers that `setting` selects."""
        kept: tuple[str, ...] | Worst = getattr(self, setting)
        return kept.names(above) if isinstance(kept, Worst) else kept
