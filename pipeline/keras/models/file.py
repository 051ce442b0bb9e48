"""The model `file`: a user's Keras model file. It is untrusted: it must not run code unless the user allows it."""

import builtins
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from pipeline.core import model_format
from pipeline.core.errors import Fault, InputError
from pipeline.core.hashing import file_sha256
from pipeline.core.telling import telling
from pipeline.data.spec import Spec, Whole
from pipeline.keras import tf
from pipeline.keras.models import description, network_input
from pipeline.keras.models.custom import REGISTER, Custom
from pipeline.keras.models.description import MOST_BYTES, SAVE_AGAIN
from pipeline.keras.models.model import Model
from pipeline.keras.surgery.whole_input import Ids, Quantities

if TYPE_CHECKING:
    import tf_keras

# Layers that hold Python byte code, raw TensorFlow ops, or names of methods to call.
_HOLD_CODE = {"Lambda", "__lambda__", "TensorFlowOpLayer", "ClassMethod", "InstanceMethod", "InstanceProperty"}
_CALL_FUNCTIONS = {"TFOpLambda", "SlicingOpLambda"}  # layers that call a TensorFlow function by its name
# The functions that these layers may call: pure arithmetic. Others can access files.
_PURE = ("math.", "nn.", "__operators__.", "linalg.", "image.resize")
_PURE_NAMES = {
    "cast", "reshape", "concat", "stack", "split", "transpose", "expand_dims", "squeeze", "pad", "clip_by_value",
    "convert_to_tensor", "identity", "tile", "gather", "reduce_mean", "reduce_sum", "reduce_max", "zeros_like",
    "ones_like", "shape", "compat.v1.shape", "one_hot",
}  # fmt: skip
_SMALLER = "a .tflite file holds 2 GiB at most; bring a smaller network"
# Wrappers of tensorflow-model-optimization -> how to bring the model without them.
_TFMOT = {
    "QuantizeLayer": "bring the model as it was before quantize_model; the stage qat trains quantization-aware",
    "QuantizeWrapper": "bring the model as it was before quantize_model; the stage qat trains quantization-aware",
    "QuantizeWrapperV2": "bring the model as it was before quantize_model; the stage qat trains quantization-aware",
    "PruneLowMagnitude": "save what strip_pruning(model) gives",
    "ClusterWeights": "save what strip_clustering(model) gives",
}


class File(Model):
    """A model with its weights from a .h5 or .keras file that Keras 2 (tf_keras) wrote."""

    source: Literal["file"]
    path: Annotated[Path, Field(strict=False)]
    """Path of the file, relative to the config file's folder."""
    trust: bool = False
    """Load layers that contain code (Lambda layers and classes by module name). Code in the file then runs on this
    machine."""

    custom: Annotated[Custom | None, BeforeValidator(lambda given: _as_custom(given))] = None
    """Python modules that register the classes of the model's own layers, such as `[my_package.layers]`: in the
    config's folder, or installed. They run on this machine, so that `trust` must be true."""

    anonymous = frozenset({"path", "custom"})
    tasks = ("classification", "regression", "anomaly")

    @model_validator(mode="after")
    def _custom_is_trusted(self) -> "File":
        if self.custom and not self.trust:
            raise ValueError("custom: needs `trust: true`, because the modules' code runs on this machine")
        return self

    def identity(self) -> dict[str, Any]:
        try:
            identity = super().identity() | {"content": file_sha256(self.path)}
        except OSError as error:
            if (found := model_format.kind(self.path)) and self.path.is_dir():
                do = f"save it as one: tf_keras.models.load_model({self.path.name!r}).save('model.h5')"
                raise self._wrong("must be a .h5 or .keras file", found[0], do) from None
            raise self._wrong("can't be read", error.strerror or str(error)) from None
        return identity | ({"custom": self.custom.digest()} if self.custom else {})

    def prepare(self) -> None:
        if self.custom:
            tf.load()
            self.custom.load()

    def layer_names(self) -> frozenset[str] | None:
        return description.read(self.path).names()

    def refuse(self, spec: Spec) -> None:
        told = description.read(self.path)
        if not told.version.startswith("2."):
            raise self._wrong(
                "must come from Keras 2 (tf_keras), the version that tfmot works with",
                f"Keras {told.version or 'of unknown version'}",
                "rebuild the network with `import tf_keras as keras`, copy the weights, and save it again",
            )
        if not self.custom:
            self._refuse_unknown(list(told.unknown()))
        if not self.trust:
            self._refuse_code(told.config)
        self._refuse_stateful(list(told.stateful()))
        inputs, outputs = told.inputs(), told.outputs()
        if inputs is not None and outputs is not None:
            self._refuse_several(len(inputs), len(outputs))
        if inputs is not None:
            self._refuse_shape(inputs[0], spec)
        if outputs and outputs[0] and len(spec.outputs) == 1 and not spec.task.takes((outputs[0],), spec):
            received = f"data for outputs of shape {spec.outputs}"
            raise self._wrong(f"gives outputs of shape (..., {outputs[0]})", received, spec.task.models)
        self._refuse_values(network_input.whole(told.config), spec)

    def build(self, spec: Spec) -> "tf_keras.Model":
        self.refuse(spec)
        if not self.trust:
            self._check_size(description.read(self.path).config)
        self.prepare()
        model = self._load()
        self._check_fit(model, spec)
        if self.custom:
            self._check_saves(model)
        if taken := self.whole():
            model = (Ids() if taken.ids else Quantities()).model(model)
        return tf.in_precision(model, "float32")

    def whole(self) -> Whole | None:
        try:
            return network_input.whole(description.read(self.path).config)
        except InputError:  # `refuse` tells what is wrong with the file
            return None

    def _refuse_code(self, config: Any) -> None:
        found = sorted(set(code_in(config)))
        if found:
            raise self._wrong(
                "holds layers that can run code",
                ", ".join(found),
                "set `trust: true` only if you trust whoever made the file",
            )

    def _refuse_unknown(self, classes: Sequence[str]) -> None:
        """Refuse layers whose class is not known, if no modules are given that may register it."""
        if not classes:
            return
        if wrapped := [name for name in classes if name.rpartition(">")[2] in _TFMOT]:
            rule = "holds layers of tensorflow-model-optimization"
            raise self._wrong(rule, ", ".join(wrapped), _TFMOT[wrapped[0].rpartition(">")[2]])
        rule = "holds layers of classes that are not Keras's own"
        do = f"{REGISTER}, and name its module: `trust: true, custom: [my_package.layers]`"
        raise self._wrong(rule, ", ".join(classes), do)

    def _refuse_stateful(self, names: Sequence[str]) -> None:
        if names:
            do = "build the network with stateful=False; the file then computes each example from a fresh state"
            raise self._wrong("holds stateful layers, which fix the batch size", ", ".join(names), do)

    def _refuse_several(self, inputs: int, outputs: int) -> None:
        if (inputs, outputs) != (1, 1):
            do = "bring a model of one example to one row of scores or values"
            raise self._wrong("must have one input and one output", f"{inputs} and {outputs}", do)

    def _refuse_shape(self, shape: tuple[int | None, ...], spec: Spec) -> None:
        if len(shape) != len(spec.shape) or any(a not in (None, b) for a, b in zip(shape, spec.shape, strict=True)):
            do = "give data a `shape:`, or bring a model for this one"
            raise self._wrong(f"takes examples of shape {shape}", f"data of shape {spec.shape}", do)

    def _check_size(self, config: Any) -> None:
        """Refuse a network that is larger than a file can be: Keras would make all its weights before it compares."""
        count = tf.count_weights(config)
        if count is not None and 4 * count > MOST_BYTES:
            raise self._wrong(f"may have {MOST_BYTES // 4:,} weights", f"a network with {count:,}", _SMALLER)

    def _load(self) -> "tf_keras.Model":
        import tf_keras

        try:
            with tf.known_layers():
                model = tf_keras.models.load_model(self.path, compile=False, safe_mode=not self.trust)
        except Exception as error:  # for a damaged file Keras raises exceptions of many types
            do = f"{SAVE_AGAIN}, with Keras's own layers only"
            if self.custom:
                do = f"{REGISTER} that is missing" if "Unknown layer" in str(error) else "mend the layer"
            raise self._wrong("can't be loaded by Keras", telling(error), do) from error
        if not getattr(model, "_is_graph_network", False):
            received = f"a subclassed {type(model).__name__}"
            do = "rebuild it as keras.Model(inputs, outputs)"
            raise self._wrong("must be a Sequential or functional model", received, do)
        return model

    def _check_fit(self, model: "tf_keras.Model", spec: Spec) -> None:
        if wrong := [weight.name for weight in model.weights if not np.isfinite(weight.numpy()).all()]:
            do = "train it again; a smaller learning rate keeps weights finite"
            raise self._wrong("holds weights that are NaN or infinite", ", ".join(wrong), do)
        layers = model._flatten_layers(False)
        self._refuse_stateful([layer.name for layer in layers if getattr(layer, "stateful", False)])
        self._refuse_several(len(model.inputs), len(model.outputs))
        self._refuse_shape(tuple(model.inputs[0].shape[1:]), spec)
        units = tuple(model.outputs[0].shape[1:])
        if not spec.task.takes(units, spec):
            received = f"data for outputs of shape {spec.outputs}"
            raise self._wrong(f"gives outputs of shape {units}", received, spec.task.models)
        if units != spec.outputs and tf.gives_logits(model):
            do = "end it in Dense(1, activation='sigmoid'), or in an output for each label"
            raise self._wrong("must end in a sigmoid where one output stands for two labels", model.layers[-1].name, do)

    def _refuse_values(self, taken: Whole | None, spec: Spec) -> None:
        """Refuse data of another kind than the input's: ids for quantities, quantities for ids, or too many ids."""
        if taken != spec.whole and (taken is None or spec.whole is None or taken.below < spec.whole.below):
            raise self._wrong(f"takes {_said(taken)}", f"data of {_said(spec.whole)}", "bring a model for these data")
        if taken and taken.ids and spec.task.name == "anomaly":
            do = "classify, or bring a model of quantities"
            raise self._wrong("must take quantities for anomaly detection, which compares them", _said(taken), do)

    def _check_saves(self, model: "tf_keras.Model") -> None:
        """Refuse layers that can't be saved and loaded again, as each stage does with the result of the one above."""
        with TemporaryDirectory() as folder:
            try:
                tf.save_model(model, Path(folder, "model.h5"))
                tf.load_model(Path(folder, "model.h5"))
            except Exception as error:  # whatever the user's layers raise
                do = f"{REGISTER}, and let its get_config return all arguments of its __init__"
                raise self._wrong("can't be saved and loaded again", telling(error), do) from error

    def _wrong(self, rule: str, received: str, do: str = "") -> InputError:
        return InputError(Fault(rule, where=str(self.path), field="model", received=received, do=do))


def _said(taken: Whole | None) -> str:
    if taken is None:
        return "real numbers"
    return f"{'ids' if taken.ids else 'whole numbers'} from 0 to {taken.below - 1}"


def _as_custom(given: Any) -> Any:
    """Return the settings that a plain list of modules stands for."""
    return {"modules": given, "path": "."} if given and isinstance(given, list | tuple) else given or None


def code_in(config: Any) -> Iterator[str]:
    """Names of everything that could run code: Lambda layers, classes by module name, impure TensorFlow functions.

    Keras loads classes by module name in `_retrieve_class_or_fn` of tf_keras's serialization_lib.
    """
    if isinstance(config, list):
        for item in config:
            yield from code_in(item)
    elif isinstance(config, dict):
        names = {str(config.get("class_name")), str(config.get("registered_name"))}  # Keras uses either
        inner = config.get("config")
        settings = inner if isinstance(inner, dict) else {}
        for kind in names & _HOLD_CODE:
            yield f"{kind} layer {settings.get('name', '')!r}"
        if names & _CALL_FUNCTIONS and not _pure(settings.get("function")):
            yield f"TensorFlow function {settings.get('function')!r}"
        module, name = config.get("module"), config.get("class_name")
        if module is not None and name:
            called = inner if name == "function" else name
            if not _of_keras(str(module), str(called), name == "function"):
                yield f"{'function' if name == 'function' else 'class'} {module}.{called}"
        for value in config.values():
            yield from code_in(value)


def _of_keras(module: str, name: str, function: bool) -> bool:
    """Whether the module and name refer to one of Keras's own classes or functions, not to something Keras imports."""
    package, *inside = module.split(".")
    if "." in name or (function and "src" in inside):
        return False
    return package in ("keras", "tf_keras") or (function and module == "builtins" and not hasattr(builtins, name))


def _pure(function: Any) -> bool:
    return isinstance(function, str) and (function in _PURE_NAMES or function.startswith(_PURE))
