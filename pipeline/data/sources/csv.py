"""The data source `csv`: columns of numbers, one example in each row, or in each window of rows of a recording."""

import hashlib
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, FiniteFloat, PrivateAttr, model_validator

from pipeline.core.errors import Fault, InputError
from pipeline.core.hashing import example_digest, file_sha256
from pipeline.data import recording, table
from pipeline.data.recording import Recording
from pipeline.data.sources.arrays import ArrayData, Labelled
from pipeline.data.tasks.task import TASKS, Task

_STRETCHES = 40  # into which a recording is divided at least where it can be, so that each split gets several

Column = Annotated[str, Field(min_length=1)]


class Csv(ArrayData):
    """Numbers from CSV files: an example (columns,) for each row or, with `window`, (window, columns) for each window.

    Windows never reach over the end of a file, nor from one group or stretch into the next, and a stretch is in one
    split as a whole: windows of two splits share no row.
    """

    source: Literal["csv"]
    path: Annotated[Path, Field(strict=False)]
    """The file, or a folder whose .csv files are all read, relative to the config file's folder. The first line of each
    names its columns."""
    columns: Annotated[tuple[Column, ...], Field(strict=False, min_length=1)]
    """Names of the columns that the model is given, in this order."""
    label: Column | None = None
    """Column of the class, as text or number. Its names are sorted to labels, unless `labels` gives their order."""
    targets: Annotated[tuple[Column, ...], Field(strict=False, min_length=1)] | None = None
    """Columns to predict, in place of `label`: the task is then regression."""
    window: Annotated[int, Field(gt=0)] | None = None
    """Rows of one example. Default: each row is an example of its own."""
    stride: Annotated[int, Field(gt=0)] | None = None
    """Rows from the start of one window to the start of the next. Default: `window`, so that windows do not overlap."""
    label_of: Literal["majority", "last", "all"] = "majority"
    """Which row's label a window gets: the most frequent, the last, or the only one (windows with several are left
    out). A window gets the mean of `targets`, or that of its last row for `last`."""
    group: Column | None = None
    """Column that says what a row belongs to, such as a person; all rows of one group get into one split. Default: with
    several files, the file; else stretches of one to ten windows."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """Character between two values. Default: found out from the first line."""
    time: Column | None = None
    """Column of times in seconds, for `rate`. Rows are read in the order of the file, and times must increase."""
    rate: Annotated[FiniteFloat, Field(gt=0)] | None = None
    """Rows for each second: the recording is interpolated to this rate. A pause of more than `gap` ends a stretch."""
    gap: Annotated[FiniteFloat, Field(gt=0)] = 0.5
    """Longest pause in seconds that is interpolated."""
    scale: FiniteFloat = 1.0
    """Factor in the preprocessing `x * scale + offset`."""
    offset: FiniteFloat = 0.0
    """Offset in the preprocessing `x * scale + offset`."""

    anonymous: ClassVar[frozenset[str]] = frozenset({"source", "path"})

    _together: list[Hashable] = PrivateAttr(default_factory=list)
    _classes: tuple[str, ...] = PrivateAttr(default=())

    @model_validator(mode="after")
    def _fits(self) -> "Csv":
        if (self.label is None) == (self.targets is None):
            raise ValueError("label: name one column of classes, or `targets:` with the columns to predict")
        if self.window is None and self.stride is not None:
            raise ValueError("stride: is for windows, and there is no `window`")
        if (self.time is None) != (self.rate is None):
            raise ValueError("rate: needs `time:`, and `time:` needs `rate:`")
        return self

    @property
    def learns(self) -> Task:
        return TASKS["regression" if self.targets else "classification"]

    def fingerprint(self) -> str:
        total = hashlib.sha256()
        for path in self._paths():
            name = path.name if self.path.is_dir() else ""  # several files: their order and groups are by name
            try:
                total.update(f"{name}\0{file_sha256(path)}".encode())
            except OSError as error:
                raise InputError(Fault("can't be read", str(path), received=error.strerror or "")) from None
        return total.hexdigest()

    def place(self, split: str) -> str:
        return str(self.path)

    def preprocessing(self, x: NDArray[Any]) -> tuple[tuple[int, ...], float, float]:
        return x.shape[1:], self.scale, self.offset

    def label_names(self) -> tuple[str, ...] | None:
        return self._classes or self.labels

    def together(self, x: NDArray[Any]) -> Sequence[Hashable]:
        return self._together or [example_digest(example) for example in x]

    def arrays(self) -> dict[str, Labelled]:
        recordings = [each for path in self._paths() for each in self._recordings(path)]
        if self.label:
            found = {name for each in recordings for name in each.y.tolist()}
            if len(found) < 2:
                received = f"{', '.join(found)} alone"
                raise InputError(Fault("must hold two classes or more", str(self.path), self.label, received))
            self._classes = self.labels or tuple(sorted(found, key=_order))
            recordings = [each.numbered(self._classes, self.path) for each in recordings]
        if self.window is None:
            x, y = (np.concatenate(parts) for parts in zip(*((each.x, each.y) for each in recordings), strict=True))
            if self.group or len(self._paths()) > 1:
                self._together = [each.group for each in recordings for _ in each.x]
            return {"train": (x, y)}
        return {"train": self._windows(recordings, self.window)}

    def _windows(self, recordings: Sequence[Recording], window: int) -> Labelled:
        by_file = self.group or len(self._paths()) > 1
        examples: list[NDArray[np.float32]] = []
        truth: list[Any] = []
        keys: list[Hashable] = []
        for number, each in enumerate(recordings):
            rows = min(max(len(each.x) // _STRETCHES, window), 10 * window)
            for i, stretch in enumerate([each] if by_file else each.stretches(rows)):
                cut = stretch.windows(window, self.stride or window, self.label_of)
                examples += [x for x, _ in cut]
                truth += [y for _, y in cut]
                keys += [each.group if by_file else (number, i)] * len(cut)
        if not examples:
            longest = max(len(each.x) for each in recordings)
            rule, received = f"must hold {window} rows in a row for a window", f"{longest} at most"
            raise InputError(Fault(rule, str(self.path), received=received, do="choose a smaller `window`"))
        self._together = keys
        return np.stack(examples), np.array(truth)

    def _recordings(self, path: Path) -> list[Recording]:
        truth = self.targets or ((self.label,) if self.label else ())
        extra = [name for name in (self.group, self.time) if name]
        rows = table.read(path, (*self.columns, *truth, *extra), delimiter=self.delimiter or "")
        x = rows.numbers(self.columns).astype(np.float32)
        y = rows.numbers(self.targets) if self.targets else np.array(rows.columns[truth[0]])
        if self.label and (blank := np.flatnonzero(y == "")).size:
            received = f"nothing, and {len(blank):,} such lines in all"
            raise InputError(Fault("must name a class", rows.where(blank[0]), self.label, received))
        groups = np.array(rows.columns[self.group]) if self.group else np.full(len(x), path.name)
        times = rows.numbers((self.time,))[:, 0] if self.time else None
        return recording.divided(Recording(x, y, ""), groups, times, self.rate, self.gap, rows.where)

    def _paths(self) -> list[Path]:
        if not self.path.is_dir():
            return [self.path]
        found = sorted(path for path in self.path.iterdir() if path.suffix.lower() == ".csv" and path.name[0] != ".")
        if not found:
            raise InputError(Fault("holds no .csv file", where=str(self.path)))
        return found


def _order(name: str) -> tuple[float, str]:
    """Order names of classes that are numbers as numbers."""
    return (float(name), name) if name.isdecimal() else (float("inf"), name)
