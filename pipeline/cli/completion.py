"""What the shell completes: config files, settings for `--set`, targets and formats. A mistake completes nothing."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from pipeline.core.home import expanded


def configs(incomplete: str) -> list[str]:
    """YAML files and folders whose path begins with what was typed."""
    above, slash, begin = incomplete.rpartition("/")
    folder = Path(expanded(f"{above}{slash}") or ".")
    found = (path for path in sorted(folder.glob(f"{begin}*")) if path.is_dir() or path.suffix in (".yaml", ".yml"))
    return [f"{above}{slash}{path.name}{'/' if path.is_dir() else ''}" for path in found]


def targets(incomplete: str) -> list[str]:
    """Names of the built-in targets."""
    from pipeline.verify import targets

    return [name for name in targets.names() if name.startswith(incomplete)]


def formats(incomplete: str) -> list[str]:
    """Names of the formats of `export`."""
    from pipeline.export.format import FORMATS

    return [name for name in FORMATS if name.startswith(incomplete)]


def settings(context: typer.Context, incomplete: str) -> list[str]:
    """The settings of the config that stands before: ``stages.prune.``, and then ``stages.prune.sparsity=``."""
    with contextlib.suppress(Exception):  # a config that is being written is often wrong
        config = context.params["config"] or context.args[0]  # the latter while `--set` has no value yet
        return [name for name in _settings(str(config)) if _next(name, incomplete)]
    return []


def _next(name: str, typed: str) -> bool:
    """Whether the name goes on from what was typed, by one part."""
    return name.startswith(typed) and name.removesuffix(".").count(".") <= typed.count(".")


def _settings(path: str) -> Iterator[str]:
    from pipeline.core import yaml
    from pipeline.stages.stage import STAGES

    value: Any = yaml.read(Path(expanded(path))).value
    yield from (
        f"{name}." if isinstance(item, dict) else f"{name}=" for name, item in value.items() if name != "stages"
    )
    for part in ("data", "model"):
        yield from (f"{part}.{name}=" for name in (value.get(part) or {}))
    yield "stages."
    for stage in value["stages"]:
        label = f"stages.{stage.get('name', stage['stage'])}."
        yield label
        yield from (
            f"{label}{field.alias or name}=" for name, field in STAGES.load(stage["stage"]).model_fields.items()
        )
