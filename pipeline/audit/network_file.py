"""Describe a Keras model file (.h5 or .keras) without Keras: nothing in it is built or run."""

import io
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.audit.inspection import Facts, blamed, limits
from pipeline.core import processes
from pipeline.core.errors import StageError
from pipeline.core.hashing import file_sha256
from pipeline.keras.models import description
from pipeline.keras.models.file import code_in

_OF_TRAINING = ("optimizer", "metrics", "seed_generator")  # beginnings of the groups whose arrays are no weights
_SHOWN = ("filters", "units", "kernel_size", "strides", "pool_size", "padding", "activation", "rate", "target_shape")


def inspect(path: Path) -> Facts:
    """Read what a Keras file holds, as plain values for JSON.

    Raises InputError for a file that is damaged, holds weights alone, or can't be read within the limits.
    """
    try:
        (facts,) = processes.gather("reading it", [(_tell, path)], limits(path), preload=(__name__,))
    except StageError as error:
        raise blamed(error, path) from None
    found: Facts = facts
    return found


def _tell(send: processes.Send, path: Path) -> None:
    send(facts(path))


def facts(path: Path) -> Facts:
    """Facts of a file. Shapes of inputs are (batch, ...), None for an open dimension; `weights` are its arrays."""
    told = description.read(path)
    config, version = told.config, told.version
    arrays = dict(_arrays(path))
    layers = list(_layers(config))
    return {
        "file": str(path),
        "sha256": file_sha256(path),
        "bytes": path.stat().st_size,
        "format": "keras" if path.suffix == ".keras" else "h5",
        "keras_version": version or None,
        "usable": version.startswith("2."),
        "network": _text(config, "class_name"),
        "name": _text(_inner(config), "name"),
        "inputs": [layer["input_shape"] for layer in layers if layer["input_shape"] and "/" not in layer["name"]],
        "layers": layers,
        "kinds": dict(Counter(layer["class"] for layer in layers).most_common()),
        "weights": [{"name": name, "shape": shape, "dtype": dtype} for name, (shape, dtype, _) in arrays.items()],
        "parameters": sum(count for _, _, count in arrays.values()),
        "code": sorted(set(code_in(config))),
    }


def _inner(config: Any) -> Any:
    return config.get("config") if isinstance(config, dict) else None


def _text(config: Any, key: str) -> str:
    value = config.get(key) if isinstance(config, dict) else None
    return value if isinstance(value, str) else ""


def _layers(config: Any, inside: str = "") -> Iterator[Facts]:
    """The layers in the order of the config, those of networks inside with ``outer/`` before their name."""
    inner = _inner(config)
    listed = inner.get("layers") if isinstance(inner, dict) else inner  # Keras 2.2 had a list
    for layer in listed if isinstance(listed, list) else ():
        settings, name = _inner(layer), inside + _text(_inner(layer), "name")
        if isinstance(settings, dict) and isinstance(settings.get("layers"), list):
            yield from _layers(layer, f"{name}/")
            continue
        known = settings if isinstance(settings, dict) else {}
        shape = known.get("batch_input_shape") or known.get("batch_shape")
        yield {
            "name": name,
            "class": _text(layer, "class_name"),
            "input_shape": shape if isinstance(shape, list) else None,
            "settings": {key: known[key] for key in _SHOWN if isinstance(known.get(key), str | int | float | list)},
        }


def _arrays(path: Path) -> Iterator[tuple[str, tuple[list[int], str, int]]]:
    """Name of each weight -> shape, dtype and number of elements; without those of the optimizer and the metrics."""
    import h5py

    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            content: Any = io.BytesIO(archive.read("model.weights.h5"))
    else:
        content = path
    found: list[tuple[str, Any]] = []
    with h5py.File(content, "r") as file:
        file.visititems(lambda name, item: found.append((name, item)) if isinstance(item, h5py.Dataset) else None)
        for name, item in found:
            if not name.startswith(_OF_TRAINING):
                yield name, (list(map(int, item.shape or ())), str(item.dtype), int(item.size or 0))
