"""`edgepipe schema`: it accepts what the config accepts, and describes all of it."""

import json

import pytest

from pipeline.core import yaml
from tests import ROOT
from tests.support.pipelines import HEAD

CONFIG = HEAD + "  - {stage: train, epochs: 3}\n  - {stage: convert, quantization: int8}\n"


def accepts(schema, value, root):
    """Whether a JSON value fits a JSON Schema: the keywords that pydantic writes."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    for key, many in (("oneOf", lambda n: n == 1), ("anyOf", lambda n: n >= 1)):
        if key in schema and not many(sum(accepts(option, value, root) for option in schema[key])):
            return False
    kinds = {
        "object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float),
        "null": type(None),
    }  # fmt: skip
    kind = schema.get("type")
    if kind and (not isinstance(value, kinds[kind]) or (isinstance(value, bool) and kind != "boolean")):
        return False
    if ("const" in schema and value != schema["const"]) or ("enum" in schema and value not in schema["enum"]):
        return False
    if isinstance(value, dict):
        known = schema.get("properties", {})
        extra = schema.get("additionalProperties", True)
        return (
            all(name in value for name in schema.get("required", ()))
            and (extra is not False or value.keys() <= known.keys())
            and all(accepts(known[name], item, root) for name, item in value.items() if name in known)
        )
    if isinstance(value, list):
        items = schema.get("items", {})
        return len(value) >= schema.get("minItems", 0) and all(accepts(items, item, root) for item in value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return (
            value >= schema.get("minimum", value)
            and value <= schema.get("maximum", value)
            and not ("exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"])
            and not ("exclusiveMaximum" in schema and value >= schema["exclusiveMaximum"])
        )
    return True


@pytest.fixture
def schema(edgepipe):
    code, out, err = edgepipe("schema")
    assert (code, err) == (0, "")
    return json.loads(out)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_the_schema_accepts_the_configs_that_we_ship(schema, path):
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert accepts(schema, yaml.read(path).value, schema)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("epochs", "epohcs"), ("epochs: 3", "epochs: x"), ("epochs: 3", "epochs: -1"), ("stage: train", "stage: trian"),
        ("quantization: int8", "quantization: int4"), ("name: tiny", "name: tiny\nnope: 1"), ("epochs: 3", "from_: a"),
    ],
)  # fmt: skip
def test_the_schema_refuses_what_the_config_refuses(schema, old, new):
    assert accepts(schema, yaml.parse(CONFIG, "c").value, schema)
    assert not accepts(schema, yaml.parse(CONFIG.replace(old, new), "c").value, schema)


def test_the_schema_describes_every_setting(schema):
    for name, part in schema["$defs"].items():
        for setting, facts in part.get("properties", {}).items():
            if setting not in ("stage", "source", "check", "decay"):
                assert facts.get("description"), f"{name}.{setting}"
