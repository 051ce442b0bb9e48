"""Families of interchangeable parts, such as stages or checks. A part is imported when a config names it.

The tables of names are in `pipeline.config.registry`, a higher layer than the packages that use them. They are looked
up there at run time, so that no module imports the list of all parts: a new part neither slows down start-up nor
changes the cache keys of other parts.
"""

from collections.abc import Hashable, Iterator, Mapping
from functools import cached_property
from importlib import import_module
from typing import Any, Generic, Protocol, TypeVar

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticKnownError, core_schema

P = TypeVar("P")
REGISTRY = "pipeline.config.registry"


class Family(Generic[P]):
    """The parts of one kind, by the names that configs use.

    For parts without settings, such as tasks, ``TASKS["regression"]`` imports the class and returns its only instance.
    """

    def __init__(self, table: str) -> None:
        """table: name of a dictionary in the registry that maps part names to ``module:Class``."""
        self.table = table
        self._made: dict[str, P] = {}

    @cached_property
    def _where(self) -> Mapping[str, str]:
        found: Mapping[str, str] = getattr(import_module(REGISTRY), self.table)
        return found

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names in table order."""
        return iter(self._where)

    def __contains__(self, name: object) -> bool:
        return name in self._where

    def module(self, name: str) -> str:
        """Return the module name of a part, for its code digest. Raises KeyError for a name not in the table."""
        return self._where[name].partition(":")[0]

    def load(self, name: str) -> type[P]:
        """Import and return the class of a part. Raises KeyError for a name not in the table."""
        module, _, attribute = self._where[name].partition(":")
        found: type[P] = getattr(import_module(module), attribute)
        return found

    def __getitem__(self, name: str) -> P:
        """Return the only instance of a part without settings. Raises KeyError for a name not in the table."""
        if name not in self._made:
            self._made[name] = self.load(name)()
        return self._made[name]


class Chosen(Family[P]):
    """A family of parts with settings, used as a pydantic field type.

    In ``Annotated[Model, Chosen("MODELS", "source")]`` the value of the setting `source` selects the class. Only that
    class validates the value. Errors and JSON Schema are the same as for a pydantic tagged union of all parts;
    generating the schema imports all of them.
    """

    def __init__(self, table: str, tag: str, only: tuple[str, ...] = ()) -> None:
        """table: see Family. tag: the setting that selects the class. only: the allowed names; all if empty."""
        super().__init__(table)
        self.tag, self.only = tag, only

    @cached_property
    def _where(self) -> Mapping[str, str]:
        found: Mapping[str, str] = getattr(import_module(REGISTRY), self.table)
        return {name: where for name, where in found.items() if not self.only or name in self.only}

    def of(self, value: Any) -> "type[BaseModel] | None":
        """Return the class that a mapping of settings selects, or None if it selects none."""
        name = value.get(self.tag) if isinstance(value, dict) else None
        found = self.load(name) if isinstance(name, str) and name in self else None
        return found if found is None or issubclass(found, BaseModel) else None

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Validate with the selected class; see pydantic's docs, "Customizing validation"."""

        def validate(value: Any) -> Any:
            if isinstance(value, source):
                return value
            if not isinstance(value, dict):
                raise PydanticKnownError("model_attributes_type")
            if self.tag not in value:
                raise PydanticKnownError("union_tag_not_found", {"discriminator": repr(self.tag)})
            kind = self.of(value)
            if kind is None:
                names = ", ".join(map(repr, self))
                told = {"discriminator": repr(self.tag), "tag": str(value[self.tag]), "expected_tags": names}
                raise PydanticKnownError("union_tag_invalid", told)
            return kind.model_validate(value)

        return core_schema.no_info_plain_validator_function(validate)

    def __get_pydantic_json_schema__(self, _: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        members: dict[Hashable, CoreSchema] = {}
        for name in self:
            kind: Any = self.load(name)
            kind.model_rebuild()  # which pydantic puts off until a class is used
            members[name] = kind.__pydantic_core_schema__
        return handler(core_schema.tagged_union_schema(members, self.tag))


class Names(Protocol):
    """A collection of part names, such as a Family."""

    def __iter__(self) -> Iterator[str]: ...

    def __contains__(self, name: object) -> bool: ...


class NameOf:
    """Restrict a string field to the names of a family: ``Annotated[str, NameOf(TASKS)]``.

    Errors and JSON Schema are the same as for a Literal.
    """

    def __init__(self, names: Names) -> None:
        self.names = names

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def known(name: str) -> str:
            if name not in self.names:
                *others, last = map(repr, self.names)
                raise PydanticKnownError("literal_error", {"expected": f"{', '.join(others)} or {last}"})
            return name

        return core_schema.no_info_after_validator_function(known, handler(source))

    def __get_pydantic_json_schema__(self, _: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "enum": list(self.names)}
