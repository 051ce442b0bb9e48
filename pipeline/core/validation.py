"""Validate the values of a YAML document as a settings class. All faults are reported at once, each with its location.

Most of this module translates pydantic's errors: their locations into places in the YAML document, and their messages
into terms of YAML.
"""

import difflib
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from typing import Annotated, Any, Union

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipeline.core import yaml
from pipeline.core.errors import ConfigError, Fault, Place, did_you_mean
from pipeline.core.family import Chosen
from pipeline.core.settings import MODULE, NAME, TAGS, Settings

S = typing.TypeVar("S", bound=Settings)

_RULES = {  # pydantic's error types in terms of YAML; for all other types pydantic's own message is used
    "extra_forbidden": "is not a known setting",
    "missing": "is required",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "path_type": "must be a path",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping of settings",
    "model_attributes_type": "must be a mapping of settings",
}
_PATTERNS = {
    NAME: "must hold only letters, digits and _ . - and begin with a letter or digit",
    MODULE: "must be the name of a Python module, such as my_package.layers",
}


def validated(
    kind: type[S],
    document: yaml.Document,
    value: Any,
    origins: Mapping[Place, str] = types.MappingProxyType({}),
    faults: Sequence[Fault] = (),
) -> S:
    """Return the value as an object of class `kind`. Raises ConfigError with `faults` and all faults found here.

    document  the YAML document, from which the lines and columns of faults are taken
    value     the document's values, possibly changed by --set and the expansion of paths and targets
    origins   place -> the option that wrote the value there, as it was given
    faults    faults that are known already
    """
    try:
        if not isinstance(value, dict):
            raise ConfigError(
                Fault("must be a mapping of settings", where=document.where(()), received=yaml.show(value))
            )
        found = kind.model_validate(value)
    except ValidationError as error:
        raise ConfigError(*faults, *_faults(error, kind, document, origins)) from None
    if faults:
        raise ConfigError(*faults)
    return found


def item_name(item: Any, position: int) -> str:
    """Return how messages call an item of a list: by its name, else by its kind, else by its position."""
    if isinstance(item, dict):
        for key in ("name", *TAGS):
            if item.get(key) and isinstance(item[key], str):
                return str(item[key])
    return str(position)


def _faults(
    error: ValidationError, root: type[BaseModel], document: yaml.Document, origins: Mapping[Place, str]
) -> Iterator[Fault]:
    """Yield one fault for each place, in document order.

    Faults of a value that contains another fault are left out, because they only follow from it: that a list is too
    short without its invalid items, or that the value does not fit the other members of a union. So is a setting that
    is missing where its name was misspelt.
    """
    found: dict[Place, list[_Words]] = {}
    for details in error.errors(include_url=False):
        place, words = _words(details, root, document.value)
        found.setdefault(place, []).append(words)
    enclosing = {place[:n] for place in found for n in range(len(place))}
    misspelt = {(*place[:-1], words.meant) for place, all_of in found.items() for words in all_of if words.meant}
    left_out = enclosing | {place for place in misspelt & found.keys() if found[place] == [_Words(_RULES["missing"])]}
    for place in sorted((place for place in found if place not in left_out), key=document.mark):
        rules, received, hints, _ = zip(*found[place], strict=True)
        rule = " or ".join(dict.fromkeys(rules)).replace(" or must be ", " or ")  # one rule for each union member
        field, hint = dotted(place, document.value), next(filter(None, hints), "")
        yield Fault(rule, where(place, document, origins), field, received[0], hint)


def where(place: Place, document: yaml.Document, origins: Mapping[Place, str]) -> str:
    """Return a place as ``file:line:column``, or the option that wrote the value there, such as ``--set seed=1``."""
    option = next((option for at, option in origins.items() if _set_there(place, at, document)), None)
    return option or document.where(place)


def _set_there(place: Place, at: Place, document: yaml.Document) -> bool:
    """Return whether a --set at `at` wrote the value at `place`: it is inside `at`, or was created to contain it."""
    return place[: len(at)] == at or (at[: len(place)] == place and place not in document.marks)


def _resolve(loc: Place, root: type[BaseModel], value: Any) -> tuple[Place, type[BaseModel] | None, Any]:
    """Return a pydantic location as a place in the YAML values, the class that has the field, and the field's type.

    pydantic's locations also contain the tag of a union member and names of union branches, which are not YAML keys.
    """
    place: list[str | int] = []
    owner: type[BaseModel] | None = root
    kind: Any = root
    for part in loc:
        members = _models(kind, value)
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
    if (family := _family(kind)) and (chosen := family.of(value)):
        owner = chosen  # the fault is that of the whole part
    return tuple(place), owner, kind


def _family(kind: Any) -> Chosen[Any] | None:
    """Return the family of parts in an Annotated type, or None."""
    if typing.get_origin(kind) is not Annotated:
        return None
    return next((each for each in typing.get_args(kind)[1:] if isinstance(each, Chosen)), None)


def _models(kind: Any, value: Any) -> list[type[BaseModel]]:
    """Return the pydantic classes in a type annotation, looking through Annotated and unions.

    For a family of parts, it is the class that the value selects.
    """
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [kind]
    origin = typing.get_origin(kind)
    if family := _family(kind):
        chosen = family.of(value)
        return [chosen] if chosen else []
    if origin is Annotated:
        return _models(typing.get_args(kind)[0], value)
    if origin in (Union, types.UnionType):
        return [model for argument in typing.get_args(kind) for model in _models(argument, value)]
    return []


def _tags(kind: Any) -> dict[str, str]:
    """Return the tag values that select a class of a union or family -> the name of the tag, such as `stage`."""
    origin = typing.get_origin(kind)
    if family := _family(kind):
        return dict.fromkeys(family, family.tag)
    if origin is Annotated:
        return _tags(typing.get_args(kind)[0])
    if origin in (Union, types.UnionType):
        return {tag: name for argument in typing.get_args(kind) for tag, name in _tags(argument).items()}
    return {tag: name for model in _models(kind, None) for name, tag in _tagged(model)}


def _item(kind: Any) -> Any:
    """Return the item type of a tuple, looking through Annotated and unions; None if it is not a tuple."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return _item(arguments[0])
    if origin in (Union, types.UnionType):
        return next((found for argument in arguments if (found := _item(argument)) is not None), None)
    return arguments[0] if origin is tuple else None


def _tagged(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """Yield the name of the tag that selects this class of a union, and the tag's value; nothing for other classes."""
    for name in TAGS:
        field = model.model_fields.get(name)
        if field and typing.get_origin(field.annotation) is typing.Literal:
            yield name, str(typing.get_args(field.annotation)[0])


def _tag(model: type[BaseModel]) -> str | None:
    return next((tag for _, tag in _tagged(model)), None)


def _aliases(model: type[BaseModel]) -> dict[str, str]:
    """Return the names used in YAML -> the names of the fields."""
    return {field.alias or name: name for name, field in model.model_fields.items()}


def _annotation(model: type[BaseModel], part: str) -> Any:
    name = _aliases(model).get(part)
    if name is None:
        return None
    field = model.model_fields[name]
    family = next((each for each in field.metadata if isinstance(each, Chosen)), None)
    return Annotated[field.annotation, family] if family else field.annotation  # pydantic splits Annotated


class _Words(typing.NamedTuple):
    """The text of a fault, and the setting that was meant by the name of an unknown one; "" for none."""

    rule: str
    received: str = ""
    do: str = ""
    meant: str = ""


def _words(details: ErrorDetails, root: type[BaseModel], document: Any) -> tuple[Place, _Words]:
    """Return the place of a pydantic error in the YAML document, and the text of its fault."""
    place, owner, type_ = _resolve(details["loc"], root, document)
    kind, context, value = details["type"], details.get("ctx", {}), details["input"]
    tags = _tags(type_)
    name = next(iter(tags.values()), "")
    if kind == "extra_forbidden":
        known = _aliases(owner) if owner else {}
        meant = next(iter(difflib.get_close_matches(str(place[-1]), known, n=1)), "")
        return place, _Words(_RULES[kind], do=did_you_mean(str(place[-1]), known), meant=meant)
    if kind == "missing":
        return place, _Words(_RULES[kind])
    if kind == "union_tag_not_found":
        keys = [str(key) for key in value] if isinstance(value, dict) else []
        alike = difflib.get_close_matches(name, keys, n=1)
        return place, _Words(
            f"needs `{name}:`", yaml.show(value), f"is it {alike[0]!r}?" if alike else did_you_mean("", tags)
        )
    if kind == "union_tag_invalid":
        return place, _Words(f"there is no such {name}", yaml.show(value[name]), did_you_mean(context["tag"], tags))
    if kind == "value_error":
        return _of_validator(str(context["error"]), place, owner, reduce(_child, place, document))
    if kind == "literal_error" and isinstance(value, str):
        near = did_you_mean(value, re.findall("'(.*?)'", context["expected"]))
        return place, _Words(f"must be {context['expected']}", yaml.show(value), near if near.startswith("did") else "")
    rule = _RULES.get(kind) or _PATTERNS.get(context.get("pattern", "")) or _sentence(details["msg"])
    write = f"write {{{name}: {value}}}" if isinstance(value, str) and value in tags else ""
    return place, _Words(rule, yaml.show(value), write)


def _of_validator(message: str, place: Place, owner: type[BaseModel] | None, value: Any) -> tuple[Place, _Words]:
    """Return place and text for a ValueError of our own validators.

    A message such as ``begin: must be less than end`` is reported at the setting `begin`.
    """
    name, separator, rule = message.partition(": ")
    path = [int(part) if part.isdecimal() else part for part in name.split(".")]
    if not separator or owner is None or path[0] not in _aliases(owner):
        return place, _Words(message)
    for part in path:
        value = _child(value, part)
    return (*place, *path), _Words(rule, "" if value is None else yaml.show(value))


def _sentence(message: str) -> str:
    """Rephrase pydantic's `Input should be greater than or equal to 0` as `must be at least 0`."""
    message = re.sub(r"^\w+ should", "must", message).partition(" after validation")[0]
    return message.replace("greater than or equal to", "at least").replace("less than or equal to", "at most")


def dotted(place: Place, value: Any) -> str:
    """Return a place as a dotted name such as ``stages.prune.sparsity``, with list items by name (see `item_name`)."""
    parts = []
    for part in place:
        parts.append(item_name(value[part], part) if isinstance(part, int) and isinstance(value, list) else str(part))
        value = _child(value, part)
    return ".".join(parts)


def _child(value: Any, part: str | int) -> Any:
    """Return the item of a mapping or list, or None if there is none."""
    try:
        return value[part]
    except (KeyError, IndexError, TypeError):
        return None
