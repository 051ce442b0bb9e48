"""Read CSV tables as columns of text or numbers. All faults of a kind are told at once, with the line of the first."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.core import regular_file
from pipeline.core.errors import Fault, InputError, did_you_mean

_DELIMITERS = ",;\t|"


@dataclass(frozen=True)
class Table:
    """A table that was read.

    path     the file
    columns  name of a column -> its values as text without spaces around it, one for each row
    lines    the line of the file on which each row ends, from 1
    """

    path: Path
    columns: Mapping[str, Sequence[str]]
    lines: Sequence[int]

    def where(self, row: int) -> str:
        """Return the place of a row as ``file:line``."""
        return f"{self.path}:{self.lines[row]}"

    def numbers(self, names: Sequence[str]) -> NDArray[np.float64]:
        """Return columns (rows, columns) as float64. Raises InputError with the line of the first that is no number."""
        array = np.empty((len(self.lines), len(names)), np.float64)
        for i, name in enumerate(names):
            try:
                array[:, i] = self.columns[name]  # NumPy reads text as float() does
            except ValueError:
                array[:, i] = [_number(text) for text in self.columns[name]]
        wrong = np.argwhere(~np.isfinite(array))
        if len(wrong):
            row, column = wrong[0]
            text = self.columns[names[column]][row]
            rule, received = "must be a finite number", f"{text or 'nothing'}, and {len(wrong):,} such values in all"
            do = "remove these lines, or fill them with what you know"
            raise InputError(Fault(rule, self.where(row), names[column], received, do))
        return array


def read(path: Path, needed: Sequence[str], optional: Sequence[str] = (), delimiter: str = "") -> Table:
    """Read a table with the names of its columns in its first line. Empty lines are left out.

    needed     names of columns that must be there
    optional   names of columns that may be there; no others are returned
    delimiter  the character between values; "" finds it out from the first line

    Raises InputError for a file that can't be read, is no UTF-8, lacks a column, or has lines of other lengths.
    """
    try:
        regular_file.size(path)
        with path.open(encoding="utf-8-sig", newline="") as file:
            head = file.readline()
            file.seek(0)
            rows = csv.reader(file, delimiter=delimiter or _delimiter(head), strict=True)
            names = [name.strip() for name in next(rows, [])]
            _check_names(path, names, needed, head)
            wanted = {name: names.index(name) for name in (*needed, *optional) if name in names}
            found: dict[str, list[str]] = {name: [] for name in wanted}
            lines: list[int] = []
            short: list[tuple[int, int]] = []
            for row in rows:
                if not row:
                    continue
                if len(row) != len(names):
                    short.append((rows.line_num, len(row)))
                    continue
                lines.append(rows.line_num)
                for name, i in wanted.items():
                    found[name].append(row[i].strip())
    except OSError as error:
        raise InputError(Fault("the table can't be read", str(path), received=error.strerror or str(error))) from None
    except UnicodeDecodeError as error:
        do = "save it as UTF-8"
        raise InputError(Fault("must be UTF-8 text", str(path), received=f"byte {error.start}", do=do)) from None
    except csv.Error as error:
        raise InputError(Fault("is no CSV table", f"{path}:{rows.line_num}", received=str(error))) from None
    if short:
        line, count = short[0]
        rule = f"must have {len(names)} values in each line, as in the first"
        received = f"{count}, and {len(short):,} such lines in all"
        raise InputError(Fault(rule, where=f"{path}:{line}", received=received))
    if not lines:
        raise InputError(Fault("must hold lines below the names of its columns", where=str(path)))
    return Table(path, found, lines)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _delimiter(head: str) -> str:
    """Return the character that divides the first line into most values."""
    return max(_DELIMITERS, key=head.count)


def _check_names(path: Path, names: Sequence[str], needed: Sequence[str], head: str) -> None:
    if twice := sorted({name for name in names if names.count(name) > 1 and name in needed}):
        raise InputError(Fault("names a column twice", where=f"{path}:1", received=", ".join(twice)))
    faults = [
        Fault(f"has no column {name!r}", f"{path}:1", received=head.strip()[:200], do=did_you_mean(name, names))
        for name in needed
        if name not in names
    ]
    if faults:
        raise InputError(*faults)
