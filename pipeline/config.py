"""A YAML file as a checked, frozen Config. Every fault is told at once, each with its file:line:column."""

import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Union

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from pipeline import targets, yaml
from pipeline.data import AnyData
from pipeline.errors import ConfigError, Fault, did_you_mean
from pipeline.models import AnyModel
from pipeline.stage import NAME, TAGS, Strict
from pipeline.stages import AnyStage
from pipeline.stages.verify import Verify
from pipeline.targets import Target
from pipeline.yaml import Place

S = typing.TypeVar("S", bound=Strict)

_RULES = {  # pydantic's kinds of errors in the words of YAML; the others are told in pydantic's own
    "extra_forbidden": "is not a known setting",
    "missing": "is required",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "path_type": "must be a path",
    "tuple_type": "must be a list",
    "model_type": "must be a mapping of settings",
    "model_attributes_type": "must be a mapping of settings",
}
_PATTERNS = {NAME: "must hold only letters, digits and _ . - and begin with a letter or digit"}


class Config(Strict):
    """One run: data, a model, and the stages in running order."""

    name: Annotated[str, Field(pattern=NAME, max_length=100)]
    """Name of the run; its results go to runs/<name>/."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Decides the initial weights, the order of examples and all other random choices."""
    target: Annotated[Target | None, BeforeValidator(targets.expand, json_schema_input_type=str | Target | None)] = None
    """What the files are for: a built-in name, a YAML file, or settings (`like:` a target, with changes). Every verify
    stage checks what it implies."""
    data: AnyData
    """Where the examples come from."""
    model: AnyModel
    """The network."""
    stages: Annotated[tuple[AnyStage, ...], Field(strict=False, min_length=1)]
    """What happens, in running order."""

    @field_validator("stages")
    @classmethod
    def _aimed(cls, stages: tuple[AnyStage, ...], found: ValidationInfo) -> tuple[AnyStage, ...]:
        target = found.data.get("target")
        return tuple(stage.aimed_at(target) if isinstance(stage, Verify) else stage for stage in stages)

    @model_validator(mode="after")
    def _target_counts(self) -> "Config":
        if self.target and not any(isinstance(stage, Verify) for stage in self.stages):
            raise ValueError("target: is checked by a verify stage, and there is none")
        return self


def load(path: Path, overrides: Sequence[str] = ()) -> tuple[Config, yaml.Document]:
    """Read a config file and `--set` overrides such as ``stages.prune.sparsity=0.7``. ConfigError with every fault."""
    document = yaml.read(path)
    if not isinstance(document.value, dict):
        raise ConfigError(
            Fault("must be a mapping of settings", where=document.where(()), received=yaml.show(document.value))
        )
    faults: list[Fault] = []
    origins: dict[Place, str] = {}
    for option in overrides:
        try:
            origins[_override(document.value, option)] = option
        except ConfigError as error:
            faults += error.faults
    return _validated(Config, document, path.parent, origins, faults), document


def load_as(kind: type[S], path: Path) -> S:
    """Read a YAML file that holds settings of another class, with the same rules and errors."""
    document = yaml.read(path)
    return _validated(kind, document, path.parent)


def _validated(
    kind: type[S],
    document: yaml.Document,
    folder: Path,
    origins: Mapping[Place, str] = types.MappingProxyType({}),
    faults: Sequence[Fault] = (),
) -> S:
    """The document's values as such an object; ConfigError with these and all further faults."""
    try:
        if not isinstance(document.value, dict):
            rule = "must be a mapping of settings"
            raise ConfigError(Fault(rule, where=document.where(()), received=yaml.show(document.value)))
        values = _paths_from(document.value, folder)
        if "target" in values:
            values["target"] = targets.placed(values["target"], folder)
        found = kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(*faults, *_faults(error, kind, document, origins)) from None
    if faults:
        raise ConfigError(*faults)
    return found


def _override(value: dict[str, Any], option: str) -> Place:
    """Put one ``a.b.c=value`` into the values; a stage, or an item of a list, goes by its name or position."""
    where = f"--set {option}"
    path, separator, text = option.partition("=")
    if not separator or not all(path.split(".")):
        raise ConfigError(Fault("must be a dotted name, `=` and a value", where=where, do="such as seed=3"))
    parsed = yaml.parse(text, where).value
    place: list[str | int] = []
    target: Any = value  # pipeline.yaml gives dicts and lists only
    *parents, last = path.split(".")
    for part in parents:
        key = _key(target, part, where)
        if isinstance(target, dict) and target.get(key) is None:
            target[key] = {}
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
    raise ConfigError(Fault(f"there is nothing below it to set as {part!r}", where=where, received=yaml.show(target)))


def _item_name(item: Any, position: int) -> str:
    """How a person calls an item of a list: its name, else its kind, else its position."""
    if isinstance(item, dict):
        for key in ("name", *TAGS):
            if item.get(key) and isinstance(item[key], str):
                return str(item[key])
    return str(position)


def _paths_from(value: Any, folder: Path) -> Any:
    """The values with each relative `path:` made relative to the config file's folder."""
    return with_paths(value, lambda path: str(folder / path))


def with_paths(value: Any, change: Callable[[str], str]) -> Any:
    """The values with each `path:` in them changed."""
    if isinstance(value, dict):
        return {
            key: change(item) if key == "path" and isinstance(item, str) and item else with_paths(item, change)
            for key, item in value.items()
        }
    return [with_paths(item, change) for item in value] if isinstance(value, list) else value


def _faults(
    error: ValidationError, root: type[BaseModel], document: yaml.Document, origins: Mapping[Place, str]
) -> Iterator[Fault]:
    """One fault for each place, in the order of the text.

    A fault inside a value makes those of the whole value noise: that the list is too short without its wrong items, or
    that the value is of no other kind of a union.
    """
    found: dict[Place, list[_Words]] = {}
    for details in error.errors(include_url=False):
        place, words = _words(details, root, document.value)
        found.setdefault(place, []).append(words)
    enclosing = {place[:n] for place in found for n in range(len(place))}
    for place in sorted((place for place in found if place not in enclosing), key=document.mark):
        option = next((option for at, option in origins.items() if _set_there(place, at, document)), None)
        where = f"--set {option}" if option else document.where(place)
        rules, received, hints = zip(*found[place], strict=True)
        rule = " or ".join(dict.fromkeys(rules)).replace(" or must be ", " or ")  # of the kinds of a union
        yield Fault(rule, where, _dotted(place, document.value), received[0], next(filter(None, hints), ""))


def _set_there(place: Place, at: Place, document: yaml.Document) -> bool:
    """Whether the value at `place` comes from a --set of `at`: it lies in it, or was made to hold it."""
    return place[: len(at)] == at or (at[: len(place)] == place and place not in document.marks)


def _resolve(loc: Place, root: type[BaseModel], value: Any) -> tuple[Place, type[BaseModel] | None, Any]:
    """A pydantic location as a place in the YAML values, the class whose field it is, and the field's type.

    pydantic puts the tag of a union's member, and names of union branches, into its locations: those are no keys.
    """
    place: list[str | int] = []
    owner: type[BaseModel] | None = root
    kind: Any = root
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
    return tuple(place), owner, kind


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


def _tagged(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """The setting that chooses a class of a union, and its value for this one; nothing for a class outside unions."""
    for name in TAGS:
        if name in model.model_fields:
            yield name, str(typing.get_args(model.model_fields[name].annotation)[0])


def _tag(model: type[BaseModel]) -> str | None:
    return next((tag for _, tag in _tagged(model)), None)


def _aliases(model: type[BaseModel]) -> dict[str, str]:
    """The names that YAML uses -> the names of the fields."""
    return {field.alias or name: name for name, field in model.model_fields.items()}


def _annotation(model: type[BaseModel], part: str) -> Any:
    name = _aliases(model).get(part)
    return model.model_fields[name].annotation if name else None


class _Words(typing.NamedTuple):
    rule: str
    received: str = ""
    do: str = ""


def _words(details: ErrorDetails, root: type[BaseModel], document: Any) -> tuple[Place, _Words]:
    """The place of one of pydantic's errors, and what to say of it."""
    place, owner, type_ = _resolve(details["loc"], root, document)
    kind, context, value = details["type"], details.get("ctx", {}), details["input"]
    tags = {tag: name for model in _models(type_) for name, tag in _tagged(model)}
    name = next(iter(tags.values()), "")
    if kind == "extra_forbidden":
        return place, _Words(_RULES[kind], do=did_you_mean(str(place[-1]), _aliases(owner) if owner else ()))
    if kind == "missing":
        return place, _Words(_RULES[kind])
    if kind == "union_tag_not_found":
        return place, _Words(f"needs `{name}:`", yaml.show(value), did_you_mean("", tags))
    if kind == "union_tag_invalid":
        return place, _Words(f"there is no such {name}", yaml.show(value[name]), did_you_mean(context["tag"], tags))
    if kind == "value_error":
        return _of_validator(str(context["error"]), place, owner, value)
    if kind == "literal_error" and isinstance(value, str):
        near = did_you_mean(value, re.findall("'(.*?)'", context["expected"]))
        return place, _Words(f"must be {context['expected']}", yaml.show(value), near if near.startswith("did") else "")
    rule = _RULES.get(kind) or _PATTERNS.get(context.get("pattern", "")) or _sentence(details["msg"])
    write = f"write {{{name}: {value}}}" if isinstance(value, str) and value in tags else ""
    return place, _Words(rule, yaml.show(value), write)


def _of_validator(message: str, place: Place, owner: type[BaseModel] | None, value: Any) -> tuple[Place, _Words]:
    """What a validator of ours says: ``begin: must be less than end`` is told of the setting `begin`."""
    name, separator, rule = message.partition(": ")
    path = [int(part) if part.isdecimal() else part for part in name.split(".")]
    if not separator or owner is None or path[0] not in _aliases(owner):
        return place, _Words(message)
    for part in path:
        value = _child(value, part)
    return (*place, *path), _Words(rule, "" if value is None else yaml.show(value))


def _sentence(message: str) -> str:
    """pydantic's `Input should be greater than or equal to 0` as `must be at least 0`."""
    message = re.sub(r"^\w+ should", "must", message).partition(" after validation")[0]
    return message.replace("greater than or equal to", "at least").replace("less than or equal to", "at most")


def _dotted(place: Place, value: Any) -> str:
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
