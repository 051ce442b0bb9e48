"""Break text into lines between phrases, and between words only where a phrase is longer than a line."""

import re
from collections.abc import Iterator

_PHRASES = re.compile(r"(?<=[,:;.]) ")  # the space behind a phrase
_WORDS = re.compile(r"(?<!\d) | (?=\d)")  # a space, but none between a number and its unit


def wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """The text in lines of up to `width` columns, those behind the first indented. A longer word has its own line."""
    first, *rest = _chunks(text, width - len(indent))
    lines = [first]
    for chunk in rest:
        if len(lines[-1]) + 1 + len(chunk) <= width:
            lines[-1] += f" {chunk}"
        else:
            lines.append(f"{indent}{chunk}")
    return lines


def _chunks(text: str, width: int) -> Iterator[str]:
    """The parts between which a line may end. A phrase is one part if it fits a line, otherwise its words are."""
    for phrase in _PHRASES.split(text):
        yield from (phrase,) if len(phrase) <= width else _WORDS.split(phrase)
