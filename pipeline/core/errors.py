"""Every error that a user can meet, and the exit code that it ends the program with.

::

    EdgepipeError        1   the base class; met alone it is a bug of ours
    ├── ConfigError      2   the YAML file, a --set or an option is wrong
    ├── InputError       3   data or a model file is wrong
    └── StageError       4   a stage failed: TensorFlow, the converter, a crash, no memory
        └── StoreError   4   the store can't be read or written: no space, no permission

A failed check is a result and not an error: the report is written, then the program ends with 5.
"""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import ClassVar


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, said in full on one or two lines.

    rule      what was expected, as a sentence without its full stop
    where     the place: ``file:line:column``, a file, or an option
    field     the dotted name of the setting, where there is one
    received  what was found instead, as text
    do        what the user can do about it
    """

    rule: str
    where: str = ""
    field: str = ""
    received: str = ""
    do: str = ""

    def __str__(self) -> str:
        line = ": ".join(part for part in (self.where, self.field, self.rule) if part)
        if self.received:
            line += f" (received {self.received})"
        if self.do:
            line += f"; {self.do}" if len(line) + len(self.do) < 100 else f"\n    {self.do}"
        return line

    @property
    def reason(self) -> str:
        """Why, without the place: for results, which must not hold a path of the machine."""
        return f"{self.rule}: {self.received}" if self.received else self.rule


Place = tuple[str | int, ...]  # of a value in a YAML text: keys and positions in lists, from the top
PlacedFault = tuple[Place, Fault]  # the place below the settings of one part, and what is wrong there


class EdgepipeError(Exception):
    """What a user meets instead of a traceback: one or more faults. Survives pickling."""

    exit_code: ClassVar[int] = 1

    def __init__(self, *faults: Fault) -> None:
        super().__init__(*faults)
        self.faults = faults

    def __str__(self) -> str:
        return "\n".join(map(str, self.faults))


class ConfigError(EdgepipeError):
    """The YAML file, a --set or an option is wrong."""

    exit_code = 2


class InputError(EdgepipeError):
    """Data or a model file is wrong."""

    exit_code = 3


@contextmanager
def input_of(field: str) -> Iterator[None]:
    """Faults of an input as those of the setting that names it."""
    try:
        yield
    except InputError as error:
        raise InputError(*(replace(fault, field=field) for fault in error.faults)) from None


class StageError(EdgepipeError):
    """A stage failed."""

    exit_code = 4


class StoreError(StageError):
    """The store can't be read or written."""


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """``did you mean 'epochs'?`` for a near miss; the choices when none is near; "" without any."""
    words = sorted(set(words))
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known: {', '.join(words)}" if words else ""
