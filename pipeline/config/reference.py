"""Generate the reference of all settings in Markdown from the classes: ``python -m pipeline.config.reference``."""

import inspect
import json
import types
import typing
from collections.abc import Iterator
from enum import Enum
from typing import Annotated, Any, Union

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pipeline.config.config import Config
from pipeline.core.settings import TAGS, Settings


def render() -> str:
    """Return the reference: the top level of a config, then a section for each settings class, in order of mention."""
    return "\n".join(line for model in _classes(Config) for line in _section(model)).strip() + "\n"


def _classes(model: type[BaseModel]) -> list[type[BaseModel]]:
    """Return the class, all classes that its settings can hold, and the base classes of these, each once."""
    found = [model]
    for current in found:
        inherited = [base for base in _bases(current) if base not in found]
        held = (other for field in current.model_fields.values() for other in _models(field.annotation))
        found += dict.fromkeys([*inherited, *(other for other in held if other not in found)])
    return found


def _bases(model: type[BaseModel]) -> list[type[BaseModel]]:
    """Return the classes from which a class inherits settings, nearest first."""
    return [base for base in model.__mro__[1:] if issubclass(base, Settings) and _own(base)]


def _own(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the settings that a class declares itself, without inherited ones."""
    return {name: field for name, field in model.model_fields.items() if name in inspect.get_annotations(model)}


def _models(kind: Any) -> Iterator[type[BaseModel]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    for argument in typing.get_args(kind):
        yield from _models(argument)


def _section(model: type[BaseModel]) -> Iterator[str]:
    tag = next((name for name in TAGS if name in model.model_fields), None)
    yield f"### {_title(model)}\n"
    yield inspect.cleandoc(model.__doc__ or "") + "\n"
    rows = [_row(field.alias or name, field) for name, field in _own(model).items() if name != tag]
    if rows:
        yield "| setting | value | default | |\n|---|---|---|---|"
        yield from rows
        yield ""
    if bases := _bases(model):
        yield f"And the settings of {' and '.join(_title(base) for base in bases)}.\n"


def _title(model: type[BaseModel]) -> str:
    tag = next((name for name in TAGS if name in model.model_fields), None)
    if tag:
        return f"`{tag}: {_choices(model.model_fields[tag].annotation)[0]}`"
    return {"Config": "A config file", "Training": "stages that train",
            "Taught": "stages that can learn from a teacher", "Stage": "every stage", "Check": "every check",
            "ArrayData": "sources that are arrays"}.get(model.__name__, model.__name__)  # fmt: skip


def _row(name: str, field: FieldInfo) -> str:
    cells = (f"`{name}`", _kind(field), _default(field), (field.description or "").replace("\n", " "))
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
    return _said(field.annotation) + _limits(field.metadata)


def _said(kind: Any) -> str:
    """Return a type in terms of YAML, such as "list of whole number"."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return _said(arguments[0]) + _limits(arguments[1:])
    if origin is typing.Literal:
        return " or ".join(f"`{choice}`" for choice in _choices(kind))
    if origin in (Union, types.UnionType):
        parts = [_said(argument) for argument in arguments if argument is not type(None)]
        return " or ".join(dict.fromkeys(parts))
    if origin is tuple:
        return f"list of {_said(arguments[0])}"
    if origin is dict:
        return f"mapping to {_said(arguments[1])}"
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        tag = next((name for name in TAGS if name in kind.model_fields), None)
        return f"`{_choices(kind.model_fields[tag].annotation)[0]}`" if tag else kind.__name__
    names = {int: "whole number", float: "number", str: "text", bool: "`true` or `false`"}
    return names.get(kind, "path" if getattr(kind, "__name__", "") == "Path" else str(kind))


def _choices(kind: Any) -> list[str]:
    return [str(choice.value if isinstance(choice, Enum) else choice) for choice in typing.get_args(kind)]


def _limits(metadata: Any) -> str:
    """Return the limits in annotated-types constraints as text such as ``> 0, < 1``, at any nesting depth."""
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    flat = [inner for item in metadata for inner in (*getattr(item, "metadata", ()), item)]
    found = [f"{sign} {getattr(item, name)}" for item in flat for name, sign in signs.items() if hasattr(item, name)]
    return f" {', '.join(dict.fromkeys(found))}" if found else ""


if __name__ == "__main__":
    print(render(), end="")
