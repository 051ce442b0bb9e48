"""The docstrings of settings: the same as pydantic's own reading of them, and in the JSON Schema."""

import subprocess
import sys
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from pipeline.core.docstrings import descriptions
from pipeline.core.settings import Settings


class Base(BaseModel):
    """Read by pydantic as the class is made."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    a: int
    """One line."""
    b: int = 1
    """Two lines,
    the second indented as this one is."""
    c: int = 2
    constant: ClassVar[int] = 3
    """Of no setting."""
    """Below another string."""
    d: int = 4
    # a comment between
    """Behind a comment."""


class Sub(Base):
    """Declares `b` again without a docstring, and `c` with one."""

    b: int = 5
    c: int = 6
    """Now it has one."""
    from_: str = Field(default="", alias="from")
    """Under another name in YAML."""


def test_they_are_those_that_pydantic_reads():
    for model in (Base, Sub):
        assert descriptions(model) == {name: f.description for name, f in model.model_fields.items() if f.description}
    assert descriptions(Sub).keys() == {"a", "c", "d", "from_"}


def test_a_class_without_source_has_none():
    made = {}
    exec("class Made(Settings):\n    a: int\n    'Nobody can read this.'\n", {"Settings": Settings}, made)
    assert descriptions(made["Made"]) == {}


class Named(Settings):
    """Has a setting of each kind of description."""

    from_: str = Field(default="", alias="from")
    """Where it comes from."""
    own: int = Field(default=0, description="Said in the field itself.")
    """Not this."""
    plain: int = 0


def test_the_schema_says_them_under_the_names_that_yaml_uses():
    properties = Named.model_json_schema(by_alias=True)["properties"]
    assert {name: facts.get("description") for name, facts in properties.items()} == {
        "from": "Where it comes from.",
        "own": "Said in the field itself.",
        "plain": None,
    }


def test_a_run_reads_none_of_them(tmp_path):
    """Reading them takes as long as all other work of a run that finds everything in the store."""
    program = """
from pathlib import Path
from pipeline.config.config import load
from pipeline.core import docstrings
load(Path("config.yaml"))
print(docstrings._below.cache_info().currsize)
"""
    text = "name: a\ndata: {source: digits}\nmodel: {source: mlp}\nstages: [{stage: train, epochs: 1}]\n"
    (tmp_path / "config.yaml").write_text(text)
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"
