"""Make text from a report or a file safe to print on a terminal."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pipeline.report import phrases

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_ASCII = str.maketrans({"−": "-", "–": "-", "✓": "+", "✗": "x", "×": "x", "…": ".", "≤": "<=", "≥": ">="})


def print_facts(rows: Iterable[tuple[str, str]], console: "Console") -> None:
    """Print a line for each fact, its name and its value, and an empty line below."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(text(name, console, "dim"), text(value, console))
    console.print(grid)
    console.print()


def text(plain: str, console: "Console", style: str = "") -> "Text":
    """Text without markup, control characters and characters that the terminal can't encode."""
    from rich.text import Text

    line = phrases.line(plain)
    encoding = console.encoding or "utf-8"
    try:
        line.encode(encoding)
    except UnicodeEncodeError:
        line = line.translate(_ASCII).encode(encoding, "replace").decode(encoding)
    return Text(line, style)
