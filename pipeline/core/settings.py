"""Base classes of everything that users write in YAML, as frozen pydantic models.

A part is one class: its fields are the settings, with description, unit and default, and its methods do the work. The
JSON Schema, the reference, the validation errors and the cache key are derived from the class.
"""

import typing
from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    model_serializer,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from pipeline.core import code_digest
from pipeline.core.docstrings import descriptions

TAGS = ("stage", "source", "check", "format", "decay")  # the settings whose value selects a class
MODULE = r"^[^\W\d]\w*(\.[^\W\d]\w*)*$"  # pattern of names of Python modules
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"  # pattern of names that are used as file or folder names


Fraction = Annotated[float, Field(ge=0, le=1)]
Portion = Annotated[float, Field(gt=0, lt=1)]  # neither nothing nor everything
Share = Annotated[float, Field(ge=0, lt=1)]  # may be nothing, but not everything


class Settings(BaseModel):
    """Base class of all settings. Instances are frozen; unknown keys, type coercion and non-finite numbers are refused.

    The string below a field is its description in the reference and the JSON Schema. A validator that compares several
    settings raises ``ValueError("name: rule")`` with the dotted name of the setting to change; the error is then
    reported at the line of that setting::

        class Ramp(Settings):
            \"\"\"Increase a rate linearly.\"\"\"

            begin: Fraction = 0.0
            \"\"\"Fraction of the training at which the increase starts.\"\"\"
            end: Fraction = 1.0
            \"\"\"Fraction of the training at which the increase ends.\"\"\"

            @model_validator(mode="after")
            def _ordered(self) -> "Ramp":
                if self.begin >= self.end:
                    raise ValueError("begin: must be less than end")
                return self
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        defer_build=True,  # base classes, and what a class holds, need no validator of their own
    )

    kind: ClassVar[str] = ""  # value of the setting that selects this class: "train" for `stage: train`

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        for tag in TAGS:
            field = cls.model_fields.get(tag)
            if field and typing.get_origin(field.annotation) is typing.Literal:
                cls.kind = str(typing.get_args(field.annotation)[0])

    def settings(self) -> dict[str, Any]:
        """Return all settings, defaults included, as JSON values under the names used in YAML."""
        return self.model_dump(mode="json", by_alias=True)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The JSON Schema, with each setting's docstring as its description."""
        found = handler(schema)
        properties = handler.resolve_ref_schema(found).get("properties", {})
        for name, text in descriptions(cls).items():
            alias = cls.model_fields[name].alias or name
            if alias in properties:
                properties[alias].setdefault("description", text)
        return found

    @model_serializer(mode="wrap")
    def _tags_first(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Put the keys in the order that people write: the tag that selects the class, name, from, then the rest."""
        settings = handler(self)
        first = (key for key in (*TAGS, "name", "from") if key in settings)
        return {key: settings[key] for key in dict.fromkeys((*first, *settings))}


class KeyedSettings(Settings):
    """Base class of parts that affect the output of a stage, so that their identity is part of cache keys.

    anonymous   settings that do not affect the output, such as names and paths; excluded from the identity
    decided_by  the modules whose code determines the output; the module of the class if empty
    """

    anonymous: ClassVar[frozenset[str]] = frozenset()
    decided_by: ClassVar[tuple[str, ...]] = ()

    def identity(self) -> dict[str, Any]:
        """Return everything that the output depends on, as JSON values: settings and the digest of the code.

        Subclasses that read files add a digest of their content.
        """
        settings = {key: value for key, value in self.settings().items() if key not in self.anonymous}
        return {"settings": settings, "code": code_digest.digest(*(self.decided_by or (type(self).__module__,)))}
