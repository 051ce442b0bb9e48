"""What a user writes in YAML, as frozen pydantic classes: the base of all settings, and of those that count in keys.

The config is the part: one class holds the settings, with their description, unit and default, and the method that does
the work. The command line, the JSON Schema, the reference and the cache key all follow from the class.
"""

import typing
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from pipeline.core import code_digest

TAGS = ("stage", "source", "check", "format", "decay")  # the settings that choose a class
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"  # of what becomes a file or a folder


Fraction = Annotated[float, Field(ge=0, le=1)]
Portion = Annotated[float, Field(gt=0, lt=1)]  # more than nothing, less than all
Share = Annotated[float, Field(ge=0, lt=1)]  # nothing, or less than all


class Settings(BaseModel):
    """Base of everything that a user writes in YAML: frozen, unknown keys refused, no type coercion, finite numbers.

    A validator that looks at several settings raises ``ValueError("name: rule")``, with the dotted name of the setting
    to change, and the fault is told at its place::

        class Ramp(Settings):
            \"\"\"A rate that rises.\"\"\"

            begin: float = 0.0
            \"\"\"Share of the training after which it begins to rise.\"\"\"
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    kind: ClassVar[str] = ""  # the value of the setting that chooses this class, such as "train" of `stage: train`

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        for tag in TAGS:
            field = cls.model_fields.get(tag)
            if field and typing.get_origin(field.annotation) is typing.Literal:
                cls.kind = str(typing.get_args(field.annotation)[0])

    def settings(self) -> dict[str, Any]:
        """The resolved settings as JSON values, under the names that the YAML file uses."""
        return self.model_dump(mode="json", by_alias=True)

    @model_serializer(mode="wrap")
    def _tags_first(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """In the order in which people write settings: what it is, its name, then the rest."""
        settings = handler(self)
        first = (key for key in (*TAGS, "name", "from") if key in settings)
        return {key: settings[key] for key in dict.fromkeys((*first, *settings))}


class KeyedSettings(Settings):
    """Settings of a part that decides the output: its identity goes into cache keys."""

    anonymous: ClassVar[frozenset[str]] = frozenset()  # settings that decide nothing about the output: names, paths
    decided_by: ClassVar[str] = ""  # the module whose code decides the output; the class's own when it is left out

    def identity(self) -> dict[str, Any]:
        """What the output depends on: settings, the content of files, the code."""
        settings = {key: value for key, value in self.settings().items() if key not in self.anonymous}
        return {"settings": settings, "code": code_digest.digest(self.decided_by or type(self).__module__)}
