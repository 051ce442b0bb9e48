"""The reference of all settings, in Markdown, from the classes themselves."""

import inspect
import json
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from pathlib import Path
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

GENERATED = "This page is generated from the code by `scripts/docs`."
FAMILIES: Mapping[str, tuple[str, Chosen[Any]]] = {
    "data.md": ("Data sources", DATA),
    "models.md": ("Models", MODELS),
    "stages.md": ("Stages", STAGES),
    "checks.md": ("Checks", CHECKS),
    "export.md": ("Export formats", FORMATS),
}
TITLES = {
    "Config": "Top level", "TrainingSettings": "Settings of stages that train", "Training": "Stages that train",
    "Taught": "Settings of stages that can learn from a teacher", "Stage": "Settings of every stage",
    "Check": "Settings of every check", "ArrayData": "Settings of sources that are arrays", "Target": "A target",
    "Ladder": "Settings of the ladder", "Report": "Top level",
}  # fmt: skip
ELSEWHERE: Mapping[type[BaseModel], str] = {Target: "targets.md"}  # classes with a page of their own
PLAIN = {
    int: "whole number", float: "number", str: "text", bool: "`true` or `false`", Path: "path", Any: "any JSON value",
}  # fmt: skip
MARKUP = re.compile(r"[<^~{]")  # begins a tag, or markup of the site's Markdown


def pages() -> Mapping[str, str]:
    """Markdown by the name of the page: a config file, and the parts of each family with what they hold."""
    found = {"config.md": page("A config file", [Config], _settings)}
    for name, (title, family) in FAMILIES.items():
        found[name] = page(title, [family.load(part) for part in family], _settings)
    return found | {"targets.md": page("Targets", [Target], _settings) + "\n" + _built_in()}


def page(
    title: str,
    models: Iterable[type[BaseModel]],
    rows: Callable[[type[BaseModel]], Iterator[str]],
    intro: str = "",
) -> str:
    """A section for each class, then for each that their fields can hold or that they inherit fields from.

    rows  the lines of a class's own fields, a Markdown table
    """
    lines = [f"# {title}\n", f"{GENERATED}\n", *([f"{intro}\n"] if intro else [])]
    return "\n".join([*lines, *(line for model in _classes(models) for line in _section(model, rows))]).strip() + "\n"


def fields(model: type[BaseModel]) -> Iterator[str]:
    """The table of the fields of a result: name, type and meaning."""
    told = _meanings(model)
    yield from table(
        ("field", "type", "meaning"),
        ((f"`{name}`", _kind(field) + _or_null(field), told[name]) for name, field in _own(model).items()),
    )


def _meanings(model: type[BaseModel]) -> dict[str, str]:
    """Field -> what its description or docstring says, as Markdown."""
    below = descriptions(model)
    return {name: escaped(field.description or below.get(name, "")) for name, field in model.model_fields.items()}


def escaped(text: str) -> str:
    """The text with what Markdown would take for markup made literal, outside of code."""
    code = re.split(r"(`+[^`]+`+)", text)
    return "".join(
        part if i % 2 else MARKUP.sub(lambda sign: "&lt;" if sign[0] == "<" else f"\\{sign[0]}", part)
        for i, part in enumerate(code)
    )


def anchor(title: str) -> str:
    """The anchor that Markdown renderers give to a heading of plain words."""
    return "".join(sign for sign in title.lower().replace(" ", "-") if sign.isalnum() or sign in "-_")


def _settings(model: type[BaseModel]) -> Iterator[str]:
    """The table of the settings that a class declares: name, value, default and meaning."""
    told = _meanings(model)
    own = ((name, field) for name, field in _own(model).items() if name != _tag(model))
    yield from table(
        ("setting", "value", "default", "meaning"),
        ((f"`{field.alias or name}`", _kind(field), _default(field), told[name]) for name, field in own),
    )


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """The lines of a Markdown table; none without rows."""
    lines = ["| " + " | ".join(re.sub(r"\s+", " ", cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
    if lines:
        yield from ("| " + " | ".join(head) + " |", "|---" * len(head) + "|", *lines, "")


def _built_in() -> str:
    rows = (
        (f"`{target.name}`", target.title, units.size(target.flash_bytes), units.size(target.ram_bytes))
        for target in map(targets.load, targets.names())
    )
    return "\n".join(["## Built-in targets\n", *table(("target", "device", "flash", "RAM"), rows)])


def _classes(models: Iterable[type[BaseModel]]) -> list[type[BaseModel]]:
    """The classes and all that their fields can hold, with those that they inherit fields from, each once."""
    found = list(models)
    for current in found:
        inherited = [base for base in _bases(current) if base not in found]
        held = (other for field in current.model_fields.values() for other in _models(field.annotation))
        found += dict.fromkeys([*inherited, *(other for other in held if other not in found)])
    return found


def _bases(model: type[BaseModel]) -> list[type[BaseModel]]:
    """The classes that a class inherits fields from, nearest first."""
    return [base for base in model.__mro__[1:] if issubclass(base, BaseModel) and _own(base)]


def _own(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields that a class declares itself."""
    return {name: field for name, field in model.model_fields.items() if name in inspect.get_annotations(model)}


def _models(kind: Any) -> Iterator[type[BaseModel]]:
    """The classes in an annotation, without those that have a page of their own."""
    if isinstance(kind, type) and issubclass(kind, BaseModel) and not _is_family(kind) and kind not in ELSEWHERE:
        yield kind
    for argument in typing.get_args(kind):
        yield from _models(argument)


def _is_family(kind: type[BaseModel]) -> bool:
    """Whether it stands for the parts of a family."""
    return inspect.isabstract(kind)


def _section(model: type[BaseModel], rows: Callable[[type[BaseModel]], Iterator[str]]) -> Iterator[str]:
    yield f"## {_title(model)}\n"
    if text := _doc(model):
        yield f"{text}\n"
    yield from rows(model)
    if bases := _bases(model):
        yield f"Also takes: {', '.join(_link(base) for base in bases)}.\n"


def _doc(model: type[BaseModel]) -> str:
    """The docstring, for users: without the example for those who write a class, and "" for a class to fill in."""
    if any(name in vars(model) for name in getattr(model, "__abstractmethods__", ())):
        return ""
    paragraphs = inspect.cleandoc(model.__doc__ or "").split("\n\n")
    example = next((i for i, paragraph in enumerate(paragraphs) if paragraph.endswith("::")), None)
    return escaped("\n\n".join(paragraphs[:example]))


def _tag(model: type[BaseModel]) -> str:
    """The setting that chooses the class, such as `stage`; "" for a class that is no part of a family."""
    found = issubclass(model, Settings) and model.kind
    return next((name for name in TAGS if name in model.model_fields), "") if found else ""


def _title(model: type[BaseModel]) -> str:
    """``stage: prune`` for a part, and words for the others."""
    if issubclass(model, Settings) and model.kind:
        return f"{_tag(model)}: {model.kind}"
    return TITLES.get(model.__name__, model.__name__)


def _link(model: type[BaseModel]) -> str:
    """The section of a class, under its title or, for one of several schedules and the like, its value."""
    title = _title(model)
    shown = f"`{model.kind}`" if issubclass(model, Settings) and model.kind else title
    return f"[{shown}]({ELSEWHERE.get(model, '')}#{anchor(title)})"


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "**required**"
    if value is None:
        return ""
    if isinstance(value, BaseModel):
        return _of_model(value)
    return f"`{json.dumps(value)}`"


def _of_model(value: BaseModel) -> str:
    """The default of a setting that holds others."""
    settings = value.model_dump(mode="json", by_alias=True)
    return "`{" + ", ".join(f"{name}: {json.dumps(item).strip(chr(34))}" for name, item in settings.items()) + "}`"


def _or_null(field: FieldInfo) -> str:
    return " or null" if type(None) in typing.get_args(field.annotation) else ""


def _kind(field: FieldInfo) -> str:
    return _of_family(field.metadata) or _said(field.annotation) + _limits(field.metadata)


def _of_family(metadata: Iterable[Any]) -> str:
    """The names of a family's parts, of which one is chosen; "" for an annotation that names no family."""
    for each in metadata:
        if isinstance(each, Chosen):
            place = next(name for name, (_, family) in FAMILIES.items() if family.table == each.table)
            return " or ".join(f"[`{name}`]({place}#{anchor(f'{each.tag}: {name}')})" for name in each)
        if isinstance(each, (Family, NameOf)):
            return " or ".join(f"`{name}`" for name in (each.names if isinstance(each, NameOf) else each))
    return ""


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
        count = "" if arguments[-1] is ... else f"{len(arguments)} "
        return f"list of {count}{_said(arguments[0])}"
    if origin is dict:
        return f"mapping to {_said(arguments[1])}"
    return PLAIN[kind] if kind in PLAIN else _link(kind)


def _choices(kind: Any) -> list[str]:
    return [str(choice.value if isinstance(choice, Enum) else choice) for choice in typing.get_args(kind)]


def _limits(metadata: Any) -> str:
    """``> 0, < 1`` of annotated-types constraints, wherever they are nested."""
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    flat = [inner for item in metadata for inner in (*getattr(item, "metadata", ()), item)]
    found = [f"{sign} {getattr(item, name)}" for item in flat for name, sign in signs.items() if hasattr(item, name)]
    return f" {', '.join(dict.fromkeys(found))}" if found else ""
