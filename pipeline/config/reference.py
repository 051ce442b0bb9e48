"""The reference of all settings, in Markdown, from the classes themselves."""

import inspect
import json
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Annotated, Any, Union

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pipeline.config.config import Config
from pipeline.core import units
from pipeline.core.docstrings import descriptions
from pipeline.core.family import Chosen, Family, NameOf
from pipeline.core.settings import TAGS, Settings
from pipeline.data.source import DATA
from pipeline.export.format import FORMATS
from pipeline.keras.models.model import MODELS
from pipeline.stages.stage import STAGES
from pipeline.verify import targets
from pipeline.verify.checks.check import CHECKS
from pipeline.verify.targets.target import Target

TITLES = {
    "Config": "A config file", "TrainingSettings": "Settings of stages that train", "Training": "Stages that train",
    "Taught": "Settings of stages that can learn from a teacher", "Stage": "Settings of every stage",
    "Check": "Settings of every check", "ArrayData": "Settings of sources that are arrays", "Target": "A target",
    "Ladder": "Settings of the ladder",
}  # fmt: skip


def pages() -> Mapping[str, str]:
    """Markdown by the name of the page: a config file, and the parts of each family with what they hold."""
    families: dict[str, tuple[str, Chosen[Any]]] = {
        "data.md": ("Data sources", DATA),
        "models.md": ("Models", MODELS),
        "stages.md": ("Stages", STAGES),
        "checks.md": ("Checks", CHECKS),
        "export.md": ("Export formats", FORMATS),
    }
    found = {"config.md": page("A config file", [Config])}
    for name, (title, family) in families.items():
        found[name] = page(title, [part for part in map(family.load, family) if issubclass(part, BaseModel)])
    return found | {"targets.md": page("Targets", [Target]) + "\n" + _built_in()}


def page(title: str, models: Iterable[type[BaseModel]]) -> str:
    """A section for each class, then for each that their settings can hold or that they inherit settings from."""
    lines = [f"# {title}\n", "This page is generated from the classes by `scripts/docs`.\n"]
    return "\n".join([*lines, *(line for model in _classes(models) for line in _section(model))]).strip() + "\n"


def _built_in() -> str:
    rows = (
        f"| `{target.name}` | {target.title} | {units.size(target.flash_bytes)} | {units.size(target.ram_bytes)} |"
        for target in map(targets.load, targets.names())
    )
    return "\n".join(["## Built-in targets\n", "| target | | flash | RAM |\n|---|---|---|---|", *rows]) + "\n"


def _classes(models: Iterable[type[BaseModel]]) -> list[type[BaseModel]]:
    """The classes and all that their settings can hold, with those that they inherit settings from, each once."""
    found = list(models)
    for current in found:
        inherited = [base for base in _bases(current) if base not in found]
        held = (other for field in current.model_fields.values() for other in _models(field.annotation))
        found += dict.fromkeys([*inherited, *(other for other in held if other not in found)])
    return found


def _bases(model: type[BaseModel]) -> list[type[BaseModel]]:
    """The classes that a class inherits settings from, nearest first."""
    return [base for base in model.__mro__[1:] if issubclass(base, BaseModel) and _own(base)]


def _own(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The settings that a class declares itself."""
    return {name: field for name, field in model.model_fields.items() if name in inspect.get_annotations(model)}


def _models(kind: Any) -> Iterator[type[BaseModel]]:
    """The classes in an annotation, without the parts of families, which have pages of their own."""
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is Annotated and any(isinstance(each, Family) for each in arguments):
        return
    if isinstance(kind, type) and issubclass(kind, BaseModel) and not _is_base_of_family(kind):
        yield kind
    for argument in arguments:
        yield from _models(argument)


def _is_base_of_family(kind: type[BaseModel]) -> bool:
    return inspect.isabstract(kind) or kind is Target


def _section(model: type[BaseModel]) -> Iterator[str]:
    tag = next((name for name in TAGS if name in model.model_fields), None)
    yield f"## {_title(model)}\n"
    yield inspect.cleandoc(model.__doc__ or "") + "\n"
    said = descriptions(model)
    rows = [
        _row(field.alias or name, field, field.description or said.get(name, ""))
        for name, field in _own(model).items()
        if name != tag or not _kind_of(model)
    ]
    if rows:
        yield "| setting | value | default | |\n|---|---|---|---|"
        yield from rows
        yield ""
    if bases := _bases(model):
        links = (f"[{_title(base)}](#{anchor(_title(base))})" for base in bases)
        yield f"See also {', '.join(links)}.\n"


def _kind_of(model: type[BaseModel]) -> str:
    return model.kind if issubclass(model, Settings) else ""


def _title(model: type[BaseModel]) -> str:
    """``stage: prune`` for a part, and words for the others."""
    if kind := _kind_of(model):
        return f"{next(name for name in TAGS if name in model.model_fields)}: {kind}"
    return TITLES.get(model.__name__, model.__name__)


def anchor(title: str) -> str:
    """The anchor that Markdown renderers give to a heading of plain words."""
    return "".join(sign for sign in title.lower().replace(" ", "-") if sign.isalnum() or sign in "-_")


def _row(name: str, field: FieldInfo, said: str) -> str:
    cells = (f"`{name}`", _kind(field), _default(field), said.replace("\n", " "))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "**required**"
    if value is None:
        return ""
    if isinstance(value, BaseModel):
        return "see below"
    return f"`{json.dumps(value)}`"


def _kind(field: FieldInfo) -> str:
    return _of_family(field.metadata) or _said(field.annotation) + _limits(field.metadata)


def _of_family(metadata: Iterable[Any]) -> str:
    """The names of a family's parts, of which one is chosen; "" for an annotation that names no family."""
    names = next((list(each) for each in metadata if isinstance(each, Family)), [])
    names = names or next((list(each.names) for each in metadata if isinstance(each, NameOf)), [])
    return " or ".join(f"`{name}`" for name in names)


def _said(kind: Any) -> str:
    """A type in a user's words."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return _of_family(arguments[1:]) or _said(arguments[0]) + _limits(arguments[1:])
    if origin is typing.Literal:
        return " or ".join(f"`{choice}`" for choice in _choices(kind))
    if origin in (Union, types.UnionType):
        parts = [_said(argument) for argument in arguments if argument is not type(None)]
        return " or ".join(dict.fromkeys(parts))
    if origin is tuple:
        return f"list of {_said(arguments[0])}"
    if origin is dict:
        return f"mapping to {_said(arguments[1])}"
    if isinstance(kind, type) and issubclass(kind, Settings):
        return f"`{kind.kind}`" if kind.kind else kind.__name__
    names = {int: "whole number", float: "number", str: "text", bool: "`true` or `false`"}
    return names.get(kind, "path" if getattr(kind, "__name__", "") == "Path" else str(kind))


def _choices(kind: Any) -> list[str]:
    return [str(choice.value if isinstance(choice, Enum) else choice) for choice in typing.get_args(kind)]


def _limits(metadata: Any) -> str:
    """``> 0, < 1`` of annotated-types constraints, wherever they are nested."""
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    flat = [inner for item in metadata for inner in (*getattr(item, "metadata", ()), item)]
    found = [f"{sign} {getattr(item, name)}" for item in flat for name, sign in signs.items() if hasattr(item, name)]
    return f" {', '.join(dict.fromkeys(found))}" if found else ""
