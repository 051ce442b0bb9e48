"""Make text from a report or a file safe to print on a terminal."""

from typing import TYPE_CHECKING

from pipeline.report import phrases

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_ASCII = str.maketrans({"−": "-", "–": "-", "✓": "+", "✗": "x", "×": "x", "…": ".", "≤": "<=", "≥": ">="})


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
