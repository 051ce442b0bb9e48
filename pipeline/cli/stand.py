"""Where a run stands: what is finished, what it is at, and how it goes on after an interruption."""

import time
from collections.abc import Callable

from pipeline.core import units
from pipeline.core.progress import Progress

FIGURES = ("loss", "val_loss", "val_accuracy", "val_mae")  # metrics of an epoch that are shown, in this order


class Stand:
    """The state of a run, from the events that a watcher is told.

    label    the step that runs, or else what the run does, such as "loading TensorFlow"
    step     whether the label is that of a step
    since    when that began, in seconds of the clock
    metrics  of the last epoch, by name
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.finished: list[str] = []
        self.begin("starting", step=False)

    def begin(self, label: str, step: bool) -> None:
        """Note that something else begins."""
        self.label, self.step, self.since = label, step, self.clock()
        self.progress: Progress | None = None
        self.metrics: dict[str, float] = {}
        self._left = Left(self.clock)

    def heard(self, progress: Progress) -> None:
        """Note the progress of what runs."""
        self.metrics = progress.figures or self.metrics
        self.progress = progress
        self._left.heard(progress)

    def end(self, name: str) -> None:
        """Note that a step is finished."""
        self.finished.append(name)
        self.begin("", step=False)

    def line(self, width: int) -> str:
        """What runs, as one line: the label, the unit it is at, metrics of the last epoch, and the time left."""
        elapsed, left = self.clock() - self.since, self._left.seconds()
        time_left = f"{units.seconds(left)} left" if left else units.seconds(elapsed)
        if self.progress is None:
            return fitted([self.label, time_left], width)
        return fitted([f"{self.label}: {unit(self.progress)}", *figures(self.metrics), time_left], width)

    def interrupted(self) -> str:
        """Where an interruption finds the run, and how the same command goes on, as the end of a sentence."""
        again = "; the same command"
        if not self.step:
            on = f"goes on behind {self.finished[-1]}" if self.finished else "starts again"
            return f"{f' while {self.label}' if self.label else ''}{again} {on}"
        done = self.progress
        if done is not None and done.kept and done.done:
            return f" in {self.label} after {done.what} {done.done} of {done.total}{again} goes on from there"
        kept = f" and keeps {', '.join(self.finished)}" if self.finished else ""
        return f" in {self.label}{again} starts {self.label} again{kept}"


class Left:
    """Estimates the time left from the mean time per unit, without what came before the first report.

    The estimate restarts when a stage changes to other units, such as the epochs of a second training.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._what, self._first, self._done, self._total = "", (0.0, 0.0), 0.0, 0

    def heard(self, progress: Progress) -> None:
        """Note how far the work is; parts of a unit count as that part."""
        inner = progress.within
        part = inner.done / inner.total if inner and inner.total else 0.0
        done = progress.done + min(part, 1.0)
        if self._what != progress.what or progress.done < int(self._first[0]):
            self._what, self._first, self._done = progress.what, (done, self._clock()), done
        self._done, self._total = max(done, self._done), progress.total  # parts of other kinds begin at 0 again
        self._at = self._clock()

    def seconds(self) -> float | None:
        """The estimated seconds left; None while too little is done to tell."""
        made, took = self._done - self._first[0], self._clock() - self._first[1]
        if not self._total or made <= 0 or self._done >= self._total or (made < 1 and took < 5):
            return None
        rate = (self._at - self._first[1]) / made
        left = rate * (self._total - self._done) - (self._clock() - self._at)
        return left if left > 0 else None


def unit(progress: Progress) -> str:
    """The unit that is being worked on, or was completed last: ``epoch 4/20, batch 120/400``."""
    inner = progress.within
    if not progress.total:
        return ", ".join(filter(None, (progress.what, unit(inner) if inner else "")))
    at = min(progress.done + 1, progress.total) if inner else progress.done
    return f"{progress.what} {at}/{progress.total}" + (f", {unit(inner)}" if inner else "")


def figures(shown: dict[str, float]) -> list[str]:
    """The metrics of an epoch as texts, such as ``loss 0.412`` and ``val_accuracy 95.1 %``."""
    named = ((name, shown[name]) for name in FIGURES if name in shown)
    return [f"{name} {units.percent(v) if 'accuracy' in name else units.number(v, 3)}" for name, v in named]


def fitted(parts: list[str], width: int) -> str:
    """The parts on one line; those in the middle are left out, from the first on, if they do not fit the width."""
    parts = [part for part in parts if part]
    while len("  ".join(parts)) > width and len(parts) > 1:
        parts.pop(1)
    return "  ".join(parts)
