"""The starter config that `edgepipe init` writes, for the user's own data and device."""

import math
import os
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

from pipeline.core import validation, yaml
from pipeline.core.errors import ConfigError, Fault
from pipeline.core.settings import NAME, Settings
from pipeline.data.source import AnyData, Data
from pipeline.verify import targets

_OWN = ("digits", "diabetes")  # the sources that need no file
_PICTURES = 96  # height and width that pictures of a folder are resized to, as in MLPerf Tiny's visual wake words
_LOST = 7  # examples that the promise of accuracy may lose: fewer are within the luck of a training


class Chosen(Settings):
    """What `--data` of `edgepipe init` names."""

    data: AnyData
    """The data source."""


def starter(folder: Path, name: str | None = None, data: str | None = None, target: str | None = None) -> str:
    """Return the starter config as text.

    folder  folder that the config is for, from which it names the data
    name    name of the run
    data    digits or diabetes, the path of an .npz file or of a folder of pictures, or the settings in YAML's braces
    target  name of a target or path of its YAML file

    Raises ConfigError for a name, data or a target that a config can't have, InputError for data that can't be read.
    """
    text = files("pipeline.config").joinpath("starter.yaml").read_text(encoding="utf-8")
    if name is not None:
        if not re.fullmatch(NAME, name):
            rule = "must hold only letters, digits and _ . - and begin with a letter or digit"
            raise ConfigError(Fault(rule, where="--name", received=name))
        text = _with(text, "name: my-model ", f"name: {name} ").replace("runs/my-model/", f"runs/{name}/")
    if target is not None:
        targets.load(target)
        there = os.path.relpath(target, folder) if Path(target).suffix else target
        line = f"target: {there}   # its checks are added to those below; `edgepipe targets {target}` lists them\n"
        text = _with(text, "\n# Real handwritten digits", f"{line}\n# Real handwritten digits")
    return text if data is None else _for_data(text, folder, data)


def _with(text: str, old: str, new: str) -> str:
    if old not in text:
        raise AssertionError(f"the starter config lacks {old!r}")
    return text.replace(old, new)


def _for_data(text: str, folder: Path, spec: str) -> str:
    settings = _settings(spec)
    source = _source(settings)
    if len(source.spec().shape) == 2 and source.contract().raw_dtype == "uint8" and settings["source"] == "npz":
        settings["shape"] = [*source.spec().shape, 1]  # grey images, stored without channels
        source = _source(settings)
    shown = settings | ({"path": os.path.relpath(settings["path"], folder)} if "path" in settings else {})
    text = _with(text, "data: {source: digits}", f"data: {_braces(shown)}")
    found = source.spec()
    if len(found.shape) != 3 or found.task.name != "classification":
        text = _with(text, "model: {source: small_cnn, filters: 16}", f"model: {_model(found.task.name)}")
        text = re.sub(r"\n    augment: .*", "", text).replace(", augment: {shift: 1}", "")
    count = len(source.split("test"))
    drop = max(0.02, math.ceil(100 * _LOST / count) / 100)
    check = {
        "classification": f"{{check: accuracy, max_drop: {drop}}}   # of {count:,} test examples",
        "anomaly": "{check: metric, metric: auc, max_drop: 0.02}",
        "regression": "{check: metric, metric: r2, max_drop: 0.05}",
    }[found.task.name]
    if settings["source"] != "digits":
        text = re.sub(r"\{check: accuracy, .*", check, text)
    return text


def _model(task: str) -> str:
    return "{source: autoencoder}" if task == "anomaly" else "{source: mlp, units: [64, 32]}"


def _settings(spec: str) -> dict[str, Any]:
    path = Path(spec).expanduser()
    if spec in _OWN:
        return {"source": spec}
    if spec.startswith("{"):
        value = yaml.parse(spec, "--data").value
        return value if isinstance(value, dict) else {}
    if path.suffix == ".npz":
        return {"source": "npz", "path": spec}
    if path.is_dir():
        return {"source": "image_folder", "path": spec, "size": [_PICTURES, _PICTURES]}
    rule = f"must be {' or '.join(_OWN)}, an .npz file, a folder of pictures, or settings such as {{source: csv, ...}}"
    raise ConfigError(Fault(rule, where="--data", received=spec))


def _source(settings: dict[str, Any]) -> Data:
    document = yaml.Document("--data", {"data": settings}, {(): (1, 1)})
    return validation.validated(Chosen, document, {"data": settings}).data


def _braces(value: Any) -> str:
    """Settings as YAML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_braces(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_braces, value)) + "]"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    plain = not isinstance(value, str) or re.fullmatch(r"[A-Za-z_./~-][\w./~-]*", text)
    return text if plain else "'" + text.replace("'", "''") + "'"
