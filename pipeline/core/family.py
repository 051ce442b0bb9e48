"""Families of interchangeable parts: which there are is a table of names, and a part is imported when it is named.

The tables are in `pipeline.config.registry`, above every room that uses them. They are found there by name, so that no
part, no base class and no stage imports the list of all parts: start-up does not grow with it, and neither do keys.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib import import_module
from typing import Any, Generic, Protocol, TypeVar

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticKnownError, core_schema

P = TypeVar("P")
REGISTRY = "pipeline.config.registry"


class Family(Generic[P]):
    """The parts of one kind, each under the name that a config uses.

    For objects without settings, such as tasks, ``TASKS["regression"]`` imports the part and makes one object of it.
    """

    def __init__(self, table: str) -> None:
        """table: the name of the registry's table, name of the part -> ``module:Class``."""
        self.table = table
        self._made: dict[str, P] = {}

    @cached_property
    def _where(self) -> Mapping[str, str]:
        found: Mapping[str, str] = getattr(import_module(REGISTRY), self.table)
        return found

    def __iter__(self) -> Iterator[str]:
        """The names, in the order of the table."""
        return iter(self._where)

    def __contains__(self, name: object) -> bool:
        return name in self._where

    def module(self, name: str) -> str:
        """The module of a part, for the digest of its code. KeyError for a name that is not in the table."""
        return self._where[name].partition(":")[0]

    def load(self, name: str) -> type[P]:
        """The class of a part. KeyError for a name that is not in the table."""
        module, _, attribute = self._where[name].partition(":")
        found: type[P] = getattr(import_module(module), attribute)
        return found

    def __getitem__(self, name: str) -> P:
        """The one object of a part without settings. KeyError for a name that is not in the table."""
        if name not in self._made:
            self._made[name] = self.load(name)()
        return self._made[name]


class Chosen(Family[P]):
    """The parts that have settings: in ``Annotated[Model, Chosen("MODELS", "source")]`` the setting `source` chooses.

    A value is validated by the chosen class alone, and errors are those of pydantic's own tagged union. The JSON Schema
    is that of the union of all, which are imported for it.
    """

    def __init__(self, table: str, tag: str, only: tuple[str, ...] = ()) -> None:
        """only: the names that are allowed where not all are."""
        super().__init__(table)
        self.tag, self.only = tag, only

    @cached_property
    def _where(self) -> Mapping[str, str]:
        found: Mapping[str, str] = getattr(import_module(REGISTRY), self.table)
        return {name: where for name, where in found.items() if not self.only or name in self.only}

    def of(self, value: Any) -> "type[BaseModel] | None":
        """The class that settings choose; None where they choose none."""
        name = value.get(self.tag) if isinstance(value, dict) else None
        found = self.load(name) if isinstance(name, str) and name in self else None
        return found if found is None or issubclass(found, BaseModel) else None

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """See pydantic, "Customizing validation with __get_pydantic_core_schema__"."""

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

        def schema(_: CoreSchema, render: GetJsonSchemaHandler) -> JsonSchemaValue:
            members = {name: self.load(name).__pydantic_core_schema__ for name in self}  # type: ignore[attr-defined]
            return render(core_schema.tagged_union_schema(members, self.tag))

        return core_schema.no_info_plain_validator_function(validate, metadata={"pydantic_js_functions": [schema]})


class Names(Protocol):
    """Anything that names parts."""

    def __iter__(self) -> Iterator[str]: ...

    def __contains__(self, name: object) -> bool: ...


class NameOf:
    """The name of a part: ``Annotated[str, NameOf(TASKS)]``. Errors and JSON Schema are those of a Literal."""

    def __init__(self, names: Names) -> None:
        self.names = names

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def known(name: str) -> str:
            if name not in self.names:
                *others, last = map(repr, self.names)
                raise PydanticKnownError("literal_error", {"expected": f"{', '.join(others)} or {last}"})
            return name

        def schema(_: CoreSchema, render: GetJsonSchemaHandler) -> JsonSchemaValue:
            return {"type": "string", "enum": list(self.names)}

        return core_schema.no_info_after_validator_function(
            known, handler(source), metadata={"pydantic_js_functions": [schema]}
        )
