"""The model `file`: a user's Keras model file. It is untrusted: it must not run code unless the user allows it."""

import builtins
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from pipeline.core import archive as zip_archive
from pipeline.core import model_format, regular_file, units
from pipeline.core.errors import Fault, InputError
from pipeline.core.hashing import file_sha256
from pipeline.data.spec import Spec, Whole
from pipeline.keras import tf
from pipeline.keras.models import network_input
from pipeline.keras.models.model import Model
from pipeline.keras.surgery.whole_input import Ids, Quantities

if TYPE_CHECKING:
    import h5py
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
_SAVE_AGAIN = "save the model again with tf_keras"
_MOST_BYTES = 2 << 30  # of all weights as float32: a .tflite file can't hold more
_SMALLER = "a .tflite file holds 2 GiB at most; bring a smaller network"
_MOST_TEXT = 64 << 20  # of the network's description; that of EfficientNetB7 has 1.1 MB


class File(Model):
    """A model with its weights from a .h5 or .keras file that Keras 2 (tf_keras) wrote."""

    source: Literal["file"]
    path: Annotated[Path, Field(strict=False)]
    """Path of the file, relative to the config file's folder."""
    trust: bool = False
    """Load layers that contain code (Lambda layers and classes by module name). Code in the file then runs on this
    machine."""

    anonymous = frozenset({"path"})
    tasks = ("classification", "regression", "anomaly")

    def identity(self) -> dict[str, Any]:
        try:
            return super().identity() | {"content": file_sha256(self.path)}
        except OSError as error:
            if (found := model_format.kind(self.path)) and self.path.is_dir():
                do = f"save it as one: tf_keras.models.load_model({self.path.name!r}).save('model.h5')"
                raise self._wrong("must be a .h5 or .keras file", found[0], do) from None
            raise self._wrong("can't be read", error.strerror or str(error)) from None

    def build(self, spec: Spec) -> "tf_keras.Model":
        config, version = self.described()
        if not version.startswith("2."):
            raise self._wrong(
                "must come from Keras 2 (tf_keras), the version that tfmot works with",
                f"Keras {version or 'of unknown version'}",
                "rebuild the network with `import tf_keras as keras`, copy the weights, and save it again",
            )
        if not self.trust:
            self._refuse_code(config)
            self._check_size(config)
        model = self._load()
        self._check_fit(model, spec)
        taken = network_input.whole(config)
        self._check_values(taken, spec)
        if taken:
            model = (Ids() if taken.ids else Quantities()).model(model)
        return tf.in_precision(model, "float32")

    def whole(self) -> Whole | None:
        try:
            return network_input.whole(self.described()[0])
        except InputError:  # `build` tells what is wrong with the file
            return None

    def described(self) -> tuple[Any, str]:
        """The network's config and the Keras version that wrote it, read without Keras."""
        if self.path.suffix == ".keras":
            return self._described_keras()
        if self.path.suffix in (".h5", ".hdf5"):
            return self._described_h5()
        raise self._wrong("must be a .h5 or .keras file", self.path.suffix or "no suffix", "use model.save('model.h5')")

    def _described_h5(self) -> tuple[Any, str]:
        import h5py

        try:
            regular_file.size(self.path)
            with h5py.File(self.path, "r") as file:
                _check_arrays(file)
                if "model_config" not in file.attrs:
                    raise self._wrong(
                        "holds weights but no network", "no model_config", "save it with model.save(path)"
                    )
                return json.loads(file.attrs["model_config"]), _text(file.attrs.get("keras_version", ""))
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            raise self._wrong("is no readable HDF5 file", _first_line(error), _SAVE_AGAIN) from None

    def _described_keras(self) -> tuple[Any, str]:
        import h5py

        try:
            regular_file.size(self.path)
            with zipfile.ZipFile(self.path) as archive:
                zip_archive.check(archive, _MOST_BYTES)
                if archive.getinfo("config.json").file_size > _MOST_TEXT:
                    raise ValueError(f"its config.json has more than {units.size(_MOST_TEXT)}")
                with h5py.File(io.BytesIO(archive.read("model.weights.h5")), "r") as weights:
                    _check_arrays(weights)
                config = json.loads(archive.read("config.json"))
                return config, _text(json.loads(archive.read("metadata.json")).get("keras_version", ""))
        except (OSError, ValueError, KeyError, AttributeError, RuntimeError, zipfile.BadZipFile) as error:
            raise self._wrong("is no readable .keras archive", _first_line(error), _SAVE_AGAIN) from None

    def _refuse_code(self, config: Any) -> None:
        found = sorted(set(code_in(config)))
        if found:
            raise self._wrong(
                "holds layers that can run code",
                ", ".join(found),
                "set `trust: true` only if you trust whoever made the file",
            )

    def _check_size(self, config: Any) -> None:
        """Refuse a network that is larger than a file can be: Keras would make all its weights before it compares."""
        count = tf.count_weights(config)
        if count is not None and 4 * count > _MOST_BYTES:
            raise self._wrong(f"may have {_MOST_BYTES // 4:,} weights", f"a network with {count:,}", _SMALLER)

    def _load(self) -> "tf_keras.Model":
        import tf_keras

        try:
            model = tf_keras.models.load_model(self.path, compile=False, safe_mode=not self.trust)
        except Exception as error:  # for a damaged file Keras raises exceptions of many types
            do = f"{_SAVE_AGAIN}, with Keras's own layers only"
            raise self._wrong("can't be loaded by Keras", _first_line(error), do) from error
        if not getattr(model, "_is_graph_network", False):
            received = f"a subclassed {type(model).__name__}"
            do = "rebuild it as keras.Model(inputs, outputs)"
            raise self._wrong("must be a Sequential or functional model", received, do)
        return model

    def _check_fit(self, model: "tf_keras.Model", spec: Spec) -> None:
        if wrong := [weight.name for weight in model.weights if not np.isfinite(weight.numpy()).all()]:
            do = "train it again; a smaller learning rate keeps weights finite"
            raise self._wrong("holds weights that are NaN or infinite", ", ".join(wrong), do)
        if stateful := [layer.name for layer in model._flatten_layers(False) if getattr(layer, "stateful", False)]:
            do = "build the network with stateful=False; the file then computes each example from a fresh state"
            raise self._wrong("holds stateful layers, which fix the batch size", ", ".join(stateful), do)
        if len(model.inputs) != 1 or len(model.outputs) != 1:
            received = f"{len(model.inputs)} and {len(model.outputs)}"
            do = "bring a model of one example to one row of scores or values"
            raise self._wrong("must have one input and one output", received, do)
        shape = tuple(model.inputs[0].shape[1:])
        if len(shape) != len(spec.shape) or any(a not in (None, b) for a, b in zip(shape, spec.shape, strict=True)):
            do = "give data a `shape:`, or bring a model for this one"
            raise self._wrong(f"takes examples of shape {shape}", f"data of shape {spec.shape}", do)
        units = tuple(model.outputs[0].shape[1:])
        if not spec.task.takes(units, spec):
            received = f"data for outputs of shape {spec.outputs}"
            raise self._wrong(f"gives outputs of shape {units}", received, spec.task.models)
        if units != spec.outputs and tf.gives_logits(model):
            do = "end it in Dense(1, activation='sigmoid'), or in an output for each label"
            raise self._wrong("must end in a sigmoid where one output stands for two labels", model.layers[-1].name, do)

    def _check_values(self, taken: Whole | None, spec: Spec) -> None:
        """Refuse data of another kind than the input's: ids for quantities, quantities for ids, or too many ids."""
        if taken != spec.whole and (taken is None or spec.whole is None or taken.below < spec.whole.below):
            raise self._wrong(f"takes {_said(taken)}", f"data of {_said(spec.whole)}", "bring a model for these data")
        if taken and taken.ids and spec.task.name == "anomaly":
            do = "classify, or bring a model of quantities"
            raise self._wrong("must take quantities for anomaly detection, which compares them", _said(taken), do)

    def _wrong(self, rule: str, received: str, do: str = "") -> InputError:
        return InputError(Fault(rule, where=str(self.path), field="model", received=received, do=do))


def _check_arrays(file: "h5py.File") -> None:
    """Raise ValueError if the arrays of a HDF5 file are too large, whatever they take on disk, or in other files."""
    import h5py

    total = 0

    def wrong(name: str, link: object) -> str | None:  # h5py's visitors can't raise; a value ends the visit
        nonlocal total
        found = None if isinstance(link, h5py.ExternalLink) else file.get(name)
        array = found if isinstance(found, h5py.Dataset) else None
        if isinstance(link, h5py.ExternalLink) or (array and (array.external or array.is_virtual)):
            return f"{name} refers to another file"
        total += array.size * array.dtype.itemsize if array and array.size else 0
        return f"its arrays have more than {units.size(_MOST_BYTES)}" if total > _MOST_BYTES else None

    if found := file.visititems_links(wrong):
        raise ValueError(found)


def _said(taken: Whole | None) -> str:
    if taken is None:
        return "real numbers"
    return f"{'ids' if taken.ids else 'whole numbers'} from 0 to {taken.below - 1}"


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


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
