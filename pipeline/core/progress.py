"""The progress of a running stage, and how code at any depth of it reports what it is at."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

PACE = 0.1  # minimum seconds between two messages that tell of nothing but a part of the work


@dataclass(frozen=True)
class Progress:
    """Progress of a running stage.

    what    the unit of work, such as "epoch"
    done    units completed
    total   units in all; 0 if that is not known
    curves  metrics of all completed units, by name
    within  progress inside the unit that is being worked on
    kept    whether an interruption loses nothing of the completed units
    note    a remark for the user
    """

    what: str
    done: int
    total: int
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)
    within: "Progress | None" = None
    kept: bool = False
    note: str = ""

    @property
    def figures(self) -> dict[str, float]:
        """The metrics of the last completed unit, by name."""
        return {name: values[-1] for name, values in self.curves.items() if values}


Hear = Callable[[Progress], None]

_listeners: list[Hear] = []  # of this process; the last one listens


@contextmanager
def listening(hear: Hear) -> Iterator[None]:
    """Pass what `step` reports in this process, in any of its threads, to `hear`."""
    _listeners.append(hear)
    try:
        yield
    finally:
        _listeners.remove(hear)


def tell(progress: Progress) -> None:
    """Report progress to who listens in this process, if anybody does."""
    if _listeners:
        _listeners[-1](progress)


def step(what: str, done: int = 0, total: int = 0) -> None:
    """Report what the running stage is at, from code that knows nothing of stages."""
    tell(Progress(what, done, total))


def paced(hear: Hear, clock: Callable[[], float] = time.monotonic) -> Hear:
    """Pass reports on to `hear`, at most one each `PACE` seconds of those that tell of nothing but a part of the work.

    A report with metrics or a note, and the first and the last of its units, always get through.
    """
    last, before = "", float("-inf")

    def heard(progress: Progress) -> None:
        nonlocal last, before
        now = clock()
        ends = progress.within is None and (progress.curves or progress.done == progress.total)
        if ends or progress.note or progress.what != last or now - before >= PACE:
            last, before = progress.what, now
            hear(progress)

    return heard
