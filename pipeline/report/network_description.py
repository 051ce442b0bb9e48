"""Describe a Keras model file on the terminal: what it is, its layers, and what edgepipe can do with it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pipeline.core import units
from pipeline.report.terminal import print_facts, text

if TYPE_CHECKING:
    from rich.console import Console

Facts = dict[str, Any]  # from `pipeline.audit.network_file`

ROWS = 60  # maximum number of rows in the table
_OLDER = "rebuild the network with `import tf_keras as keras`, copy the weights, and save it again as .h5"


def render(facts: Facts, console: "Console") -> None:
    """Print the facts: one line each, and a row for each layer."""
    from rich.table import Table

    print_facts(_summary(facts), console)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for head in ("layer", "kind", "settings"):
        table.add_column(head, overflow="fold")
    for row in facts["layers"][:ROWS]:
        settings = ", ".join(f"{key} {_value(value)}" for key, value in row["settings"].items())
        table.add_row(*(text(cell, console) for cell in (row["name"], row["class"], settings)))
    console.print(table)
    if len(facts["layers"]) > ROWS:
        console.print(text(f"... and {len(facts['layers']) - ROWS} more layers; --json has all", console, "dim"))


def _summary(facts: Facts) -> Iterator[tuple[str, str]]:
    yield "file", facts["file"]
    yield "sha256", facts["sha256"]
    yield "size", f"{units.size(facts['bytes'])} ({facts['bytes']:,} bytes)"
    form = "a .keras archive" if facts["format"] == "keras" else "a .h5 file"
    yield "format", f"{form} of Keras {facts['keras_version'] or 'of unknown version'}; it is no .tflite file"
    kinds = ", ".join(kind if count == 1 else f"{kind} x{count}" for kind, count in facts["kinds"].items())
    yield "network", f"{facts['network']} {facts['name']!r}, {len(facts['layers'])} layers: {kinds}"
    for shape in facts["inputs"]:
        yield "input", "x".join("?" if size is None else str(size) for size in shape)
    yield "parameters", f"{units.count(facts['parameters'])} in {len(facts['weights'])} arrays"
    if facts["code"]:
        yield "code", f"{', '.join(facts['code'])}: it runs only where `trust: true` allows it"
    yield "next", f"model: {{source: file, path: {facts['file']}}} in a config" if facts["usable"] else _OLDER


def _value(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, list) else str(value)
