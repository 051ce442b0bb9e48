"""A YAML file as a checked, frozen Config. Every fault is told at once, each with its file:line:column."""

import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Union

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails

from pipeline import yaml
from pipeline.data import AnyData
from pipeline.errors import ConfigError, Fault, did_you_mean
from pipeline.models import AnyModel
from pipeline.stage import Strict
from pipeline.stages import AnyStage

TAGS = ("stage", "source", "check", "decay")  # the fields that choose a class
Loc = tuple[str | int, ...]


class Config(Strict):
    """One run: data, a model, and the stages in running order."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]
    """Name of the run; its results go to runs/<name>/."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Decides the initial weights, the order of examples and all other random choices."""
    data: AnyData
    """Where the examples come from."""
    model: AnyModel
    """The network."""
    stages: Annotated[tuple[AnyStage, ...], Field(strict=False, min_length=1)]
    """What happens, in running order."""


def load(path: Path, overrides: Sequence[str] = ()) -> tuple[Config, yaml.Document]:
    """Read a config file and `--set` overrides such as ``stages.prune.sparsity=0.7``. ConfigError with every fault."""
    document = yaml.read(path)
    if not isinstance(document.value, dict):
        raise ConfigError(
            Fault("must be a mapping of settings", where=document.where(()), received=_show(document.value))
        )
    origins = {place: option for option in overrides for place in [_override(document.value, option)]}
    try:
        config = Config.model_validate(_paths_from(document.value, path.parent))
    except ValidationError as error:
        raise ConfigError(*_faults(error, document, origins)) from None
    return config, document


def _override(value: dict[str, Any], option: str) -> Loc:
    """Put one ``a.b.c=value`` into the values; a stage, or an item of a list, goes by its name or position."""
    where = f"--set {option}"
    path, separator, text = option.partition("=")
    if not separator or not path:
        raise ConfigError(Fault("must be a dotted name, `=` and a value", where=where, do="such as seed=3"))
    parsed = yaml.parse(text, where).value
    place: list[str | int] = []
    target: Any = value  # pipeline.yaml gives dicts and lists only
    *parents, last = path.split(".")
    for part in parents:
        key = _key(target, part, where)
        if isinstance(target, dict):
            target.setdefault(key, {})
        target = target[key]
        place.append(key)
    key = _key(target, last, where)
    target[key] = parsed
    return (*place, key)


def _key(target: Any, part: str, where: str) -> str | int:
    if isinstance(target, dict):
        return part
    if isinstance(target, list):
        names = [_item_name(item, i) for i, item in enumerate(target)]
        if names.count(part) > 1:
            raise ConfigError(Fault(f"{part!r} is the name of {names.count(part)} items; use a position", where=where))
        if part in names:
            return names.index(part)
        if part.isdecimal() and int(part) < len(target):
            return int(part)
        raise ConfigError(Fault(f"there is no item {part!r}", where=where, do=did_you_mean(part, names)))
    raise ConfigError(Fault(f"there is nothing below it to set as {part!r}", where=where, received=_show(target)))


def _item_name(item: Any, position: int) -> str:
    """How a person calls an item of a list: its name, else its kind, else its position."""
    if isinstance(item, dict):
        for key in ("name", *TAGS):
            if isinstance(item.get(key), str):
                return str(item[key])
    return str(position)


def _paths_from(value: Any, folder: Path) -> Any:
    """The values with each relative `path:` made relative to the config file's folder."""
    if isinstance(value, dict):
        return {
            key: str(folder / item) if key == "path" and isinstance(item, str) and item else _paths_from(item, folder)
            for key, item in value.items()
        }
    return [_paths_from(item, folder) for item in value] if isinstance(value, list) else value


def _faults(error: ValidationError, document: yaml.Document, origins: Mapping[Loc, str]) -> Iterator[Fault]:
    found = [_fault(details, document, origins) for details in error.errors(include_url=False)]
    yield from dict.fromkeys(sorted(found, key=_position))


def _position(fault: Fault) -> tuple[int, int]:
    numbers = [int(part) for part in fault.where.rsplit(":", 2)[1:] if part.isdecimal()]
    return (numbers[0], numbers[1]) if len(numbers) == 2 else (0, 0)


def _fault(details: ErrorDetails, document: yaml.Document, origins: Mapping[Loc, str]) -> Fault:
    place, owner = _resolve(details["loc"], document.value)
    where = next((f"--set {origins[place[:n]]}" for n in range(len(place), 0, -1) if place[:n] in origins), "")
    rule, received, do = _words(details, place, owner)
    return Fault(rule, where or document.where(place), _dotted(place, document.value), received, do)


def _resolve(loc: Loc, value: Any) -> tuple[Loc, type[BaseModel] | None]:
    """A pydantic location as a place in the YAML values, and the class whose field it is.

    pydantic puts the tag of a union's member, and names of union branches, into its locations: those are no keys.
    """
    place: list[str | int] = []
    owner: type[BaseModel] | None = Config
    kind: Any = Config
    for part in loc:
        members = _models(kind)
        chosen = next((member for member in members if _tag(member) == part), None)
        if chosen is not None and len(members) > 1:
            kind = owner = chosen
            continue
        if isinstance(part, int):
            if not isinstance(value, list) or part >= len(value):
                break
            kind = _item(kind)
        else:
            model = members[0] if members else None
            if model is None or (part not in _aliases(model) and not (isinstance(value, dict) and part in value)):
                continue
            owner, kind = model, _annotation(model, part)
        place.append(part)
        value = _child(value, part)
    return tuple(place), owner


def _models(kind: Any) -> list[type[BaseModel]]:
    """The pydantic classes that a type annotation stands for, through Annotated and unions."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [kind]
    origin = typing.get_origin(kind)
    if origin is Annotated:
        return _models(typing.get_args(kind)[0])
    if origin in (Union, types.UnionType):
        return [model for argument in typing.get_args(kind) for model in _models(argument)]
    return []


def _item(kind: Any) -> Any:
    """The type of a tuple's items, through Annotated and unions."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return _item(arguments[0])
    if origin in (Union, types.UnionType):
        return next((found for argument in arguments if (found := _item(argument)) is not None), None)
    return arguments[0] if origin is tuple else None


def _tag(model: type[BaseModel]) -> str | None:
    for name in TAGS:
        if name in model.model_fields:
            return str(typing.get_args(model.model_fields[name].annotation)[0])
    return None


def _aliases(model: type[BaseModel]) -> dict[str, str]:
    """The names that YAML uses -> the names of the fields."""
    return {field.alias or name: name for name, field in model.model_fields.items()}


def _annotation(model: type[BaseModel], part: str) -> Any:
    name = _aliases(model).get(part)
    return model.model_fields[name].annotation if name else None


def _words(details: ErrorDetails, place: Loc, owner: type[BaseModel] | None) -> tuple[str, str, str]:
    """Rule, received and what to do, of one of pydantic's errors."""
    kind, context, value = details["type"], details.get("ctx", {}), details["input"]
    if kind == "extra_forbidden":
        known = _aliases(owner) if owner else {}
        return "is not a known setting", "", did_you_mean(str(place[-1]), known)
    if kind == "missing":
        return "is required", "", ""
    if kind == "union_tag_not_found":
        tag = str(context["discriminator"]).strip("'")
        return f"needs `{tag}:`", _show(value), ""
    if kind == "union_tag_invalid":
        tag = str(context["discriminator"]).strip("'")
        known_tags = [name.strip("' ") for name in str(context["expected_tags"]).split(",")]
        return f"there is no such {tag}", repr(context["tag"]), did_you_mean(str(context["tag"]), known_tags)
    if kind == "value_error":
        return str(context["error"]), "", ""
    if kind == "literal_error" and isinstance(value, str):
        choices = [choice.strip("' ") for choice in str(context["expected"]).replace(" or ", ", ").split(",")]
        return (
            f"must be {context['expected']}",
            _show(value),
            did_you_mean(value, choices).replace("known: ", "one of "),
        )
    return _sentence(details["msg"]), _show(value), ""


def _sentence(message: str) -> str:
    """pydantic's `Input should be less than 1` as `must be less than 1`."""
    for start in ("Input should be a valid ", "Input should be "):
        if message.startswith(start):
            article = "a " if start.endswith("valid ") else ""
            return "must be " + article + message[len(start) :].replace("dictionary or instance of ", "mapping, for ")
    return message.replace("String should", "must").replace("Tuple should", "must").replace("Value should", "must")


def _show(value: Any) -> str:
    """A value as the user wrote it, cut short."""
    if value is None:
        return "nothing"
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _dotted(place: Loc, value: Any) -> str:
    """``stages.prune.sparsity``: items of lists go by their names."""
    parts = []
    for part in place:
        parts.append(_item_name(value[part], part) if isinstance(part, int) and isinstance(value, list) else str(part))
        value = _child(value, part)
    return ".".join(parts)


def _child(value: Any, part: str | int) -> Any:
    """The value below; None when there is none."""
    try:
        return value[part]
    except (KeyError, IndexError, TypeError):
        return None
