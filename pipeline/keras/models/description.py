"""What a Keras 2 model file says of its network: its layers, shapes and version, read without Keras."""

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path
from re import MULTILINE, findall
from typing import TYPE_CHECKING, Any

from pipeline.core import archive as zip_archive
from pipeline.core import regular_file, units
from pipeline.core.errors import Fault, InputError
from pipeline.core.telling import telling

if TYPE_CHECKING:
    import h5py

MOST_BYTES = 2 << 30  # of all weights as float32: a .tflite file can't hold more
SAVE_AGAIN = "save the model again with tf_keras"
_MOST_TEXT = 64 << 20  # of the network's description; that of EfficientNetB7 has 1.1 MB
_NETWORKS = ("Functional", "Model", "Sequential")
_WRAPPED = ("layer", "backward_layer", "cell", "cells")  # settings of a layer that hold other layers
# Layers whose outputs have the shape of their input.
_SHAPE_STAYS = (
    "Activation", "ReLU", "LeakyReLU", "PReLU", "ELU", "Softmax", "Dropout", "BatchNormalization", "LayerNormalization",
    "Rescaling",
)  # fmt: skip


@dataclass(frozen=True)
class Description:
    """The network in a model file.

    config   Keras's description of the network, as JSON values; untrusted, so it can be anything
    version  of the Keras that wrote the file; "" if it is not there
    """

    config: Any
    version: str

    def layers(self) -> Iterator[dict[str, Any]]:
        """Yield the description of each layer, those in nested models and in wrappers too."""
        yield from _layers(self.config)

    def names(self) -> frozenset[str] | None:
        """Return the names of the layers; None if several have the same."""
        found = [_settings(each).get("name") for each in _members(self.config)]
        return frozenset(map(str, found)) if len(set(map(str, found))) == len(found) else None

    def stateful(self) -> Iterator[str]:
        """Yield the names of layers that carry their state from batch to batch."""
        yield from (str(_settings(each).get("name")) for each in self.layers() if _settings(each).get("stateful"))

    def unknown(self) -> Iterator[str]:
        """Yield the classes of layers that are not Keras's own, each once."""
        known = _keras_layers()
        found = (str(each.get("registered_name") or each.get("class_name")) for each in self.layers())
        yield from dict.fromkeys(name for name in found if known and name not in known)

    def inputs(self) -> list[tuple[int | None, ...]] | None:
        """Return the shape of one example for each input; None if that is not known before the network is built."""
        try:
            return [tuple(shape[1:]) for shape in _inputs(self.config)]
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            return None

    def outputs(self) -> list[int | None] | None:
        """Return the last dimension of each output, None where it is not known; None if their number is not known."""
        try:
            return list(_outputs(self.config))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            return None


def read(path: Path) -> Description:
    """Read the description in a .h5 or .keras file. Raises InputError if there is none."""
    if path.suffix == ".keras":
        return _keras(path)
    if path.suffix in (".h5", ".hdf5"):
        return _h5(path)
    raise _wrong(path, "must be a .h5 or .keras file", path.suffix or "no suffix", "use model.save('model.h5')")


def _h5(path: Path) -> Description:
    import h5py

    try:
        regular_file.size(path)
        with h5py.File(path, "r") as file:
            _check_arrays(file)
            if "model_config" not in file.attrs:
                do = "save it with model.save(path)"
                raise _wrong(path, "holds weights but no network", "no model_config", do)
            return Description(json.loads(file.attrs["model_config"]), _text(file.attrs.get("keras_version", "")))
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise _wrong(path, "is no readable HDF5 file", telling(error), SAVE_AGAIN) from None


def _keras(path: Path) -> Description:
    import h5py

    try:
        regular_file.size(path)
        with zipfile.ZipFile(path) as archive:
            zip_archive.check(archive, MOST_BYTES)
            if archive.getinfo("config.json").file_size > _MOST_TEXT:
                raise ValueError(f"its config.json has more than {units.size(_MOST_TEXT)}")
            with h5py.File(io.BytesIO(archive.read("model.weights.h5")), "r") as weights:
                _check_arrays(weights)
            config = json.loads(archive.read("config.json"))
            return Description(config, _text(json.loads(archive.read("metadata.json")).get("keras_version", "")))
    except (OSError, ValueError, KeyError, AttributeError, RuntimeError, zipfile.BadZipFile) as error:
        raise _wrong(path, "is no readable .keras archive", telling(error), SAVE_AGAIN) from None


def _wrong(path: Path, rule: str, received: str, do: str) -> InputError:
    return InputError(Fault(rule, where=str(path), field="model", received=received, do=do))


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
        return f"its arrays have more than {units.size(MOST_BYTES)}" if total > MOST_BYTES else None

    if found := file.visititems_links(wrong):
        raise ValueError(found)


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _settings(layer: Any) -> dict[str, Any]:
    found = layer.get("config") if isinstance(layer, dict) else None
    return found if isinstance(found, dict) else {}


def _direct(model: Any) -> list[dict[str, Any]]:
    """The layers of a model, without those inside them."""
    found = _settings(model).get("layers")
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _members(model: Any, outermost: bool = True) -> Iterator[dict[str, Any]]:
    """Yield the layers that a model has once nested models are opened, without the inputs of these."""
    for layer in _direct(model):
        if layer.get("class_name") in _NETWORKS:
            yield from _members(layer, False)
        elif outermost or layer.get("class_name") != "InputLayer":
            yield layer


def _layers(model: Any) -> Iterator[dict[str, Any]]:
    """Yield all layers of a model at any depth, and those that wrappers hold."""
    for layer in _direct(model):
        if layer.get("class_name") in _NETWORKS:
            yield from _layers(layer)
        else:
            yield from _wrapped(layer)


def _wrapped(layer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield layer
    for setting in _WRAPPED:
        held = _settings(layer).get(setting)
        for each in held if isinstance(held, list) else [held]:
            if isinstance(each, dict) and each.get("class_name") in _NETWORKS:
                yield from _layers(each)
            elif isinstance(each, dict) and "class_name" in each:
                yield from _wrapped(each)


def _inputs(model: dict[str, Any]) -> Iterator[list[Any]]:
    """Yield the shape of each input, with the batch. Raises KeyError and the like if they are not known."""
    if model["class_name"] == "Sequential":
        first = _direct(model)[0]
        inner = _inputs(first) if first["class_name"] in _NETWORKS else iter([_settings(first)["batch_input_shape"]])
        yield from inner
        return
    layers = {layer["name"]: layer for layer in _direct(model)}
    for name in _ends(model["config"]["input_layers"]):
        yield _settings(layers[name])["batch_input_shape"]


def _outputs(model: dict[str, Any]) -> Iterator[int | None]:
    """Yield the last dimension of each output, None where it is not known."""
    if model["class_name"] == "Sequential":
        yield _last_dimension(_direct(model)[::-1])
        return
    layers = {layer["name"]: layer for layer in _direct(model)}
    for name in _ends(model["config"]["output_layers"]):
        yield _last_dimension(_upwards(layers, name))


def _ends(listed: Any) -> list[str]:
    """The names of the layers in `input_layers` or `output_layers`: a list of [name, call, tensor], or one of these."""
    if isinstance(listed, dict):
        listed = list(listed.values())
    return [each[0] for each in ([listed] if isinstance(listed[0], str) else listed)]


def _upwards(layers: dict[str, dict[str, Any]], name: str) -> Iterator[dict[str, Any]]:
    """Yield a layer, then the one that it reads, and so on while each reads a single one and is called once."""
    for _ in layers:
        yield layers[name]
        calls = layers[name]["inbound_nodes"]
        if len(calls) != 1 or len(calls[0]) != 1:
            return
        name = calls[0][0][0]


def _last_dimension(layers: Any) -> int | None:
    """The last dimension of what the first of these layers gives, each of which reads the next."""
    for layer in layers:
        kind, settings = layer["class_name"], _settings(layer)
        if kind == "Dense":
            return int(settings["units"])
        if kind in _NETWORKS:
            return next(iter(_outputs(layer)))
        if kind not in _SHAPE_STAYS:
            return None
    return None


@cache
def _keras_layers() -> frozenset[str]:
    """Names of Keras's own layers, from the text of its package; empty if that is not found."""
    found = PathFinder.find_spec("tf_keras")
    if found is None or found.origin is None:
        return frozenset()
    package = Path(found.origin).parent
    names: set[str] = set()
    for path in package.glob("api/_v2/keras/**/layers/**/__init__.py"):
        for own, alias in findall(r"^from \S+ import (\w+)(?: as (\w+))?", path.read_text("utf-8"), MULTILINE):
            names |= {own, alias or own}
    hidden = {"TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer", "ClassMethod", "InstanceMethod", "InstanceProperty"}
    applications = {"LayerScale", "StochasticDepth", "Custom>CustomScaleLayer"}  # of tf_keras.applications
    return frozenset(names | hidden | applications | set(_NETWORKS)) if names else frozenset()
