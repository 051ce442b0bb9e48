"""Recordings of sensors: rows in the order of time, cut into stretches and windows, at a fixed rate."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import Fault, InputError

LabelOf = Literal["majority", "last", "all"]


@dataclass(frozen=True)
class Recording:
    """Rows that follow one another in time.

    x      values (rows, columns), float32
    y      name or number of the class (rows,), or values to predict (rows, targets), float64
    group  what the rows belong to
    """

    x: NDArray[np.float32]
    y: NDArray[Any]
    group: str

    def numbered(self, labels: Sequence[str], path: Path) -> "Recording":
        """Return the recording with the position of each name among the labels in place of the name."""
        known = {name: i for i, name in enumerate(labels)}
        if unknown := sorted(set(self.y.tolist()) - known.keys()):
            raise InputError(Fault("`labels:` must name every class", str(path), received=f"no {', '.join(unknown)}"))
        return replace(self, y=np.array([known[name] for name in self.y.tolist()], np.int64))

    def stretches(self, rows: int) -> list["Recording"]:
        """Return stretches of `rows` rows; what is left at the end belongs to the last."""
        starts = list(range(0, max(len(self.x) - rows, 0) + 1, rows))
        ends = [*starts[1:], len(self.x)]
        return [self._part(slice(a, b)) for a, b in zip(starts, ends, strict=True)]

    def windows(self, length: int, stride: int, label_of: LabelOf) -> list[tuple[NDArray[np.float32], Any]]:
        """Return windows (length, columns), each with its class, or with its values (targets,)."""
        found = []
        for start in range(0, len(self.x) - length + 1, stride):
            part = self._part(slice(start, start + length))
            if (truth := part.truth(label_of)) is not None:
                found.append((part.x, truth))
        return found

    def truth(self, label_of: LabelOf) -> Any:
        """Return the class or the values of all rows together; None if there is no only class and `all` is asked."""
        if label_of == "last":
            return self.y[-1]
        if self.y.ndim > 1:
            return self.y.mean(axis=0)
        counts = Counter(self.y.tolist())
        return None if label_of == "all" and len(counts) > 1 else counts.most_common(1)[0][0]

    def _part(self, rows: slice) -> "Recording":
        return replace(self, x=self.x[rows], y=self.y[rows])


def divided(
    whole: Recording,
    groups: NDArray[Any],
    times: NDArray[np.float64] | None,
    rate: float | None,
    gap: float,
    where: Callable[[int], str],
) -> list[Recording]:
    """Divide the rows of a file where the group changes or, with times, after a pause; and bring them to a rate.

    groups  name of the group (rows,)
    times   seconds (rows,), or None
    rate    rows for each second, for recordings with times
    gap     longest pause in seconds that is no end
    where   the place of a row, for messages
    """
    ends = np.flatnonzero(groups[1:] != groups[:-1]) + 1
    if times is not None:
        step = np.diff(times)
        inside = np.setdiff1d(np.arange(1, len(times)), ends)
        if (back := inside[step[inside - 1] <= 0]).size:
            rule, received = "times must increase", f"{times[back[0]]:g} after {times[back[0] - 1]:g}"
            raise InputError(Fault(rule, where(int(back[0])), received=received))
        ends = np.union1d(ends, np.flatnonzero(step > gap) + 1)
    bounds = [0, *ends.tolist(), len(groups)]
    parts = [slice(a, b) for a, b in pairwise(bounds)]
    found = [Recording(whole.x[part], whole.y[part], str(groups[part.start])) for part in parts]
    if times is None or rate is None:
        return found
    return [_at_rate(each, times[part], rate) for each, part in zip(found, parts, strict=True)]


def _at_rate(recording: Recording, times: NDArray[np.float64], rate: float) -> Recording:
    """Interpolate values between their neighbours in time; a class is that of the nearest row."""
    wanted = times[0] + np.arange(int((times[-1] - times[0]) * rate + 1e-6) + 1) / rate
    x = np.stack(list(_interpolated(recording.x, times, wanted)), axis=1).astype(np.float32)
    if recording.y.ndim > 1:
        return Recording(x, np.stack(list(_interpolated(recording.y, times, wanted)), axis=1), recording.group)
    return Recording(x, recording.y[_nearest(times, wanted)], recording.group)


def _interpolated(
    values: NDArray[Any], times: NDArray[np.float64], wanted: NDArray[np.float64]
) -> Iterator[NDArray[np.float64]]:
    return (np.interp(wanted, times, column) for column in values.T)


def _nearest(times: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.int64]:
    after = np.clip(np.searchsorted(times, wanted), 0, len(times) - 1)
    before = np.maximum(after - 1, 0)
    return np.where(np.abs(wanted - times[before]) <= np.abs(times[after] - wanted), before, after)
