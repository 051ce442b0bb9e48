"""YAML 1.2 text to values with their places."""

import math
from itertools import pairwise

import pytest

from pipeline.core import yaml
from pipeline.core.errors import ConfigError


def value(text):
    return yaml.parse(text, "c.yaml").value


def faults(text):
    with pytest.raises(ConfigError) as caught:
        yaml.parse(text, "c.yaml")
    return [str(fault) for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no", "no"), ("yes", "yes"), ("on", "on"), ("off", "off"), ("y", "y"), ("N", "N"),
        ("true", True), ("True", True), ("FALSE", False), ("tRUE", "tRUE"),
        ("null", None), ("~", None), ("", None), ("NULL", None), ("none", "none"),
        ("12", 12), ("+12", 12), ("-3", -3), ("010", 10), ("0o17", 15), ("0x1F", 31), ("1_000", "1_000"),
        ("0b11", "0b11"), ("1:30", "1:30"), ("2024-01-02", "2024-01-02"),
        ("1e-3", 0.001), ("1.", 1.0), (".5", 0.5), ("-1.5E+2", -150.0), (".", "."), ("1e", "1e"), ("e3", "e3"),
        (".inf", math.inf), ("-.INF", -math.inf), ("inf", "inf"),
        ("'12'", "12"), ('"true"', "true"), ("v1.2.3", "v1.2.3"), ("9" * 5000, "9" * 5000),
    ],
)  # fmt: skip
def test_scalars_follow_yaml_1_2(text, expected):
    found = value(text)
    assert found == expected
    assert type(found) is type(expected)


def test_nan_is_a_number():
    assert math.isnan(value(".nan"))


def test_collections_blocks_and_aliases_are_plain_values():
    text = "a: &x [1, {b: c}]\nd: *x\ne: |\n  two\n  lines\n<<: {f: 1}\n3: three\n"
    assert value(text) == {
        "a": [1, {"b": "c"}], "d": [1, {"b": "c"}], "e": "two\nlines\n", "<<": {"f": 1}, "3": "three",
    }  # fmt: skip


def test_an_alias_is_a_value_of_its_own():
    document = yaml.parse("a: &x {b: 1}\nc: *x\n", "c.yaml")
    document.value["a"]["b"] = 2
    assert document.value["c"] == {"b": 1}


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n", "---\n", "\ufeff"])
def test_empty_text_is_nothing(text):
    assert value(text) is None


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: 1\nb: 2\na: 3", "c.yaml:3:1: the key 'a' stands twice; the first is on line 1"),
        ("x: {a: 1, 'a': 2}", "c.yaml:1:11: the key 'a' stands twice; the first is on line 1"),
        ("a: !!python/object/apply:os.system [ls]", "c.yaml:1:4: tags such as !!python/object/apply:os.system are"),
        ("a: !x 3", "c.yaml:1:4: tags such as !x are not allowed"),
        ("a: !!str 3", "c.yaml:1:4: tags such as !!str are not allowed"),
        ("a: &x [*x]", "c.yaml:1:4: an alias holds itself"),
        ("a: *x", "c.yaml:1:4: is not YAML: found undefined alias 'x'"),
        ("a:\n\tb: 1", "c.yaml:2:1: is not YAML: a tab can't indent; use spaces"),
        ("a: 1\n---\nb: 2", "c.yaml:2:1: must be one YAML document (received another `---`)"),
        ("a: b: c", "c.yaml:1:5: is not YAML: mapping values are not allowed here"),
        ("a: [1,\nb: 2", "c.yaml:2:5: is not YAML: while parsing a flow sequence that begins on line 1, expected"),
        ("? [a]\n: b", "c.yaml:1:3: a key must be text"),
        ("a:\n  b: \x07", "c.yaml:2:6: is a character that YAML does not allow (received U+0007)"),
        ('a: "\\ud800"', "c.yaml:1:4: text can't hold the character U+D800"),
        ('a: "x\\0y"', "c.yaml:1:4: text can't hold the character U+0000"),
        ('"\\0": 1', "c.yaml:1:1: text can't hold the character U+0000"),
        ('a: "\\UFFFFFFFF"', "c.yaml: names a character that does not exist"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text, fault):
    (found,) = faults(text)
    assert found.startswith(fault)


def test_all_repeated_keys_are_told_at_once():
    assert len(faults("a: 1\na: 2\nb: {c: 1, c: 2}\n? {}\n: 3\n")) == 3


def test_a_bomb_of_aliases_is_refused_before_it_is_built():
    names = "abcdefghij"
    text = "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    text += "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in pairwise(names))
    (fault,) = faults(text)
    assert "more than 100,000 values" in fault


@pytest.mark.parametrize(
    "text",
    [
        "[" * 2000 + "]" * 2000,
        "{a: " * 2000 + "}" * 2000,
        "- &x0 [1]\n" + "".join(f"- &x{i} [*x{i - 1}]\n" for i in range(1, 3000)),
    ],
)
def test_deep_nesting_is_an_error_and_no_crash(text):
    assert faults(text) == ["c.yaml: is nested too deep"]


def test_every_value_and_key_has_its_line_and_column():
    document = yaml.parse("a: 1\nb:\n  - {c: 2,  d: 3}\n  -   x\n", "c.yaml")
    assert document.marks == {
        (): (1, 1), ("a",): (1, 1), ("b",): (2, 1), ("b", 0): (3, 5), ("b", 0, "c"): (3, 6), ("b", 0, "d"): (3, 13),
        ("b", 1): (4, 7),
    }  # fmt: skip
    assert document.where(("b", 0, "d")) == "c.yaml:3:13"
    assert document.where(("b", 0, "missing", "deeper")) == "c.yaml:3:5"
    assert document.where(("missing",)) == "c.yaml:1:1"


def read_fault(path):
    with pytest.raises(ConfigError) as caught:
        yaml.read(path)
    (fault,) = caught.value.faults
    assert fault.where == str(path)
    return fault.rule


def test_files_that_are_no_text_are_told_as_such(tmp_path):
    assert read_fault(tmp_path / "none.yaml") == "there is no such file"
    assert read_fault(tmp_path) == "can't be read"
    (tmp_path / "latin.yaml").write_bytes("name: Jürgen".encode("latin-1"))
    assert read_fault(tmp_path / "latin.yaml") == "must be UTF-8 text"
    (tmp_path / "wide.yaml").write_bytes("name: a".encode("utf-16"))
    assert read_fault(tmp_path / "wide.yaml") == "must be UTF-8 text"


def test_a_device_and_a_text_without_end_are_not_read(tmp_path):
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    assert read_fault(tmp_path / "zero.yaml") == "can't be read"
    (tmp_path / "large.yaml").write_text("a: 1\n" * 300_000)
    assert read_fault(tmp_path / "large.yaml") == "can't be read"


def test_a_byte_order_mark_and_windows_line_ends_are_fine(tmp_path):
    path = tmp_path / "windows.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    document = yaml.read(path)
    assert document.value == {"a": 1, "b": 2}
    assert document.marks[("b",)] == (2, 1)


@pytest.mark.parametrize(
    ("shown", "text"),
    [(None, "nothing"), (True, "true"), ("3", "'3'"), (3, "3"), ([None, "a"], '[null, "a"]'), ({"a": 1}, '{"a": 1}')],
)
def test_values_are_shown_as_a_user_writes_them(shown, text):
    assert yaml.show(shown) == text
    assert len(yaml.show("long" * 100)) == 60
