"""The exceptions that are shown to users, each with the exit code of the program.

::

    EdgepipeError        1   the base class; raised by itself, it is a bug in edgepipe
    ├── ConfigError      2   the YAML file, a --set or another option is wrong
    ├── InputError       3   data or a model file is wrong
    └── StageError       4   a stage failed: TensorFlow, the converter, a crash, out of memory
        └── StoreError   4   the store can't be read or written: no space, no permission

A failed check is a result, not an error: the report is written, and the program exits with code 5.
"""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import ClassVar


@dataclass(frozen=True)
class Fault:
    """One problem, formatted as one or two lines of text.

    rule      what was expected, as a sentence without a full stop
    where     location: ``file:line:column``, a file, or an option
    field     dotted name of the setting; "" if there is none
    received  what was found instead, as text
    do        what the user can do to fix it
    """

    rule: str
    where: str = ""
    field: str = ""
    received: str = ""
    do: str = ""

    def __str__(self) -> str:
        line = ": ".join(shortened(part, 1500) for part in (self.where, self.field, self.rule) if part)
        if self.received:
            line += f" (received {shortened(self.received, 1500)})"
        if self.do:
            line += f"; {self.do}" if len(line) + len(self.do) < 100 else f"\n    {self.do}"
        return line

    @property
    def reason(self) -> str:
        """The rule and the received value without the location: results must not contain paths of the machine."""
        return f"{self.rule}: {self.received}" if self.received else self.rule


Place = tuple[str | int, ...]  # location of a value in a YAML document: keys and list positions, from the top
PlacedFault = tuple[Place, Fault]  # location relative to the settings of one part, and the problem there


class EdgepipeError(Exception):
    """Base class of errors that are shown to users without a traceback. Holds one or more faults; can be pickled."""

    exit_code: ClassVar[int] = 1

    def __init__(self, *faults: Fault) -> None:
        super().__init__(*faults)
        self.faults = faults

    def __str__(self) -> str:
        return "\n".join(map(str, self.faults))


class ConfigError(EdgepipeError):
    """The YAML file, a --set or another option is wrong."""

    exit_code = 2


class InputError(EdgepipeError):
    """Data or a model file is wrong."""

    exit_code = 3


@contextmanager
def input_of(field: str) -> Iterator[None]:
    """Set the field of all faults of an InputError raised inside: the setting that names the input."""
    try:
        yield
    except InputError as error:
        raise InputError(*(replace(fault, field=field) for fault in error.faults)) from None


class StageError(EdgepipeError):
    """A stage failed."""

    exit_code = 4


class StoreError(StageError):
    """The store can't be read or written."""


def shortened(text: str, most: int) -> str:
    """Return a text with `most` characters at most: what is too long loses its middle."""
    half = (most - 3) // 2
    return text if len(text) <= most else f"{text[:half]} … {text[-half:]}"


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """Return ``did you mean 'epochs'?`` for a close match, else a list of all words; "" if there are no words."""
    words = sorted(set(words))
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known: {', '.join(words)}" if words else ""
