"""Parse YAML text into plain values, and record the line and column of each value.

Scalars follow the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema), unlike PyYAML's own
loaders: ``no`` and ``on`` are text, ``1e-3`` is a number, and a repeated key is an error. Tags are refused, so that no
document can create Python objects.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pipeline.core import regular_file
from pipeline.core.errors import ConfigError, Fault, Place

MAX_BYTES = 1 << 20  # the parser takes about four seconds for that
MAX_VALUES = 100_000  # nested aliases let ten lines stand for a billion values

_SCALARS: tuple[tuple[str, str, Any], ...] = (
    ("null", r"|~|null|Null|NULL", lambda text: None),
    ("true", r"true|True|TRUE", lambda text: True),
    ("false", r"false|False|FALSE", lambda text: False),
    ("int", r"[-+]?[0-9]+", int),
    ("octal", r"0o[0-7]+", lambda text: int(text[2:], 8)),
    ("hex", r"0x[0-9a-fA-F]+", lambda text: int(text[2:], 16)),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", float),
    ("infinity", r"[-+]?\.(inf|Inf|INF)", lambda text: float(text.lower().replace(".", ""))),
    ("nan", r"\.(nan|NaN|NAN)", lambda text: float("nan")),
)
_RULES = tuple((re.compile(rf"(?:{pattern})\Z"), make) for _, pattern, make in _SCALARS)
_UNUSABLE = re.compile("[\0\ud800-\udfff]")  # possible by escapes, but not valid in file names or UTF-8


class _TagError(yaml.MarkedYAMLError):
    """The text is valid YAML but contains a tag."""


class _Loader(yaml.SafeLoader):
    """PyYAML's pure Python loader, refusing every tag. Only its composer is used."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None) is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            raise _TagError(problem=f"tags such as {tag} are not allowed", problem_mark=event.start_mark)
        return super().compose_node(parent, index)


@dataclass(frozen=True)
class Document:
    """The values of one YAML document and their locations.

    name    file name as the user gave it, for messages
    value   dict, list, str, int, float, bool or None, nested
    marks   place -> (line, column), both counted from 1; for a value in a mapping, the location of its key
    """

    name: str
    value: Any
    marks: dict[Place, tuple[int, int]] = field(repr=False)

    def mark(self, place: Place) -> tuple[int, int]:
        """Return line and column of the value, or of the nearest enclosing value that is in the text."""
        while place and place not in self.marks:
            place = place[:-1]
        return self.marks.get(place, (1, 1))

    def where(self, place: Place) -> str:
        """Return the location of the value as ``file:line:column``; see `mark`."""
        line, column = self.mark(place)
        return f"{self.name}:{line}:{column}"


def read(path: Path) -> Document:
    """Read and parse a YAML file. Raises ConfigError if it is missing, unreadable, not UTF-8 or not valid."""
    try:
        text = regular_file.read(path, MAX_BYTES).decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(Fault("there is no such file", where=str(path))) from None
    except UnicodeDecodeError as error:
        raise ConfigError(Fault("must be UTF-8 text", where=str(path), received=f"byte {error.start}")) from None
    except OSError as error:
        raise ConfigError(Fault("can't be read", where=str(path), received=str(error.strerror))) from None
    return parse(text, str(path))


def parse(text: str, name: str) -> Document:
    """Parse one YAML document. Raises ConfigError with one syntax error, or with all faults of the values."""
    builder = _Builder(name)
    try:
        root = yaml.compose(text, Loader=_Loader)
        value = builder.build(root, ()) if root is not None else None
    except yaml.MarkedYAMLError as error:
        raise ConfigError(_syntax(error, name)) from None
    except yaml.reader.ReaderError as error:
        line, column = text.count("\n", 0, error.position) + 1, error.position - text.rfind("\n", 0, error.position)
        where, received = f"{name}:{line}:{column}", f"U+{error.character:04X}"
        raise ConfigError(Fault("is a character that YAML does not allow", where=where, received=received)) from None
    except RecursionError:
        raise ConfigError(Fault("is nested too deep", where=name)) from None
    except (ValueError, OverflowError):  # "\UFFFFFFFF"
        raise ConfigError(Fault("names a character that does not exist", where=name)) from None
    if builder.faults:
        raise ConfigError(*builder.faults)
    return Document(name, value, builder.marks)


def show(value: Any) -> str:
    """Return a value as text for a message, at most 60 characters long."""
    if value is None:
        return "nothing"
    text = repr(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def scalar(text: str) -> Any:
    """Return the value of one unquoted scalar: ``1e-3`` is a float, ``no`` is text."""
    for pattern, make in _RULES:
        if pattern.match(text):
            return _number(make, text)
    return text


def _number(make: Any, text: str) -> Any:
    try:
        return make(text)
    except ValueError:  # int() refuses more than 4,300 digits
        return text


def _syntax(error: yaml.MarkedYAMLError, name: str) -> Fault:
    mark = error.problem_mark or error.context_mark
    where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
    problem = error.problem or ""
    if isinstance(error, _TagError):
        return Fault(problem, where=where)
    if "'\\t'" in problem:
        return Fault("is not YAML: a tab can't indent", where=where, do="use spaces")
    if "another document" in problem:
        return Fault("must be one YAML document", where=where, received="another `---`")
    begun = f" {error.context}" if error.context else ""
    if begun and error.context_mark and mark and error.context_mark.line != mark.line:
        begun += f" that begins on line {error.context_mark.line + 1}"
    return Fault(f"is not YAML:{begun}{',' if begun else ''} {problem}", where=where)


@dataclass
class _Builder:
    """Converts PyYAML's nodes to values; collects marks and faults.

    open   ids of the nodes being converted, to find an alias that contains itself
    count  number of values so far, with aliases counted each time
    """

    name: str
    marks: dict[Place, tuple[int, int]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    open: set[int] = field(default_factory=set)
    count: int = 0

    def build(self, node: yaml.Node, place: Place) -> Any:
        self.count += 1
        if self.count > MAX_VALUES:
            if self.count == MAX_VALUES + 1:
                self.fault(node, f"holds more than {MAX_VALUES:,} values, aliases counted")
            return None
        if id(node) in self.open:
            return self.fault(node, "an alias holds itself")
        self.marks.setdefault(place, (node.start_mark.line + 1, node.start_mark.column + 1))
        self.open.add(id(node))
        value = self.value(node, place)
        self.open.discard(id(node))
        return value

    def value(self, node: yaml.Node, place: Place) -> Any:
        if isinstance(node, yaml.MappingNode):
            return dict(self.items(node, place))
        if isinstance(node, yaml.SequenceNode):
            return [self.build(child, (*place, i)) for i, child in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        self.usable(node)
        return scalar(node.value) if node.style is None else node.value

    def items(self, node: yaml.MappingNode, place: Place) -> Iterator[tuple[str, Any]]:
        seen: dict[str, int] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self.fault(key_node, "a key must be text")
                continue
            self.usable(key_node)
            key = key_node.value
            if key in seen:
                self.fault(key_node, f"the key {key!r} stands twice; the first is on line {seen[key]}")
                continue
            seen[key] = key_node.start_mark.line + 1
            spot = (*place, key)
            self.marks[spot] = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            yield key, self.build(value_node, spot)

    def usable(self, node: yaml.ScalarNode) -> None:
        if found := _UNUSABLE.search(node.value):
            self.fault(node, f"text can't hold the character U+{ord(found[0]):04X}")

    def fault(self, node: yaml.Node, rule: str) -> None:
        mark = node.start_mark
        self.faults.append(Fault(rule, where=f"{self.name}:{mark.line + 1}:{mark.column + 1}"))
