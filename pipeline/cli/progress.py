"""Show the progress of a run on standard error: bars on a terminal, plain lines elsewhere."""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from typing_extensions import Self

from pipeline.core import units
from pipeline.core.progress import Progress

if TYPE_CHECKING:
    from rich.progress import TaskID

FIGURES = ("loss", "val_loss", "val_accuracy", "val_mae")  # metrics of an epoch that are shown, in this order
PAUSE = 5.0  # minimum seconds between lines without metrics


class Lines:
    """A watcher that prints one line for each event, for logs; progress without metrics at most every PAUSE seconds."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def cached(self, name: str) -> None:
        self.line(name, "from the store")

    def started(self, name: str) -> None:
        self.line(name, "starts")
        self._clock, self._what, self._told = Clock(), "", time.monotonic()

    def note(self, name: str, text: str) -> None:
        self.line(name, text)

    def waiting(self, name: str) -> None:
        self.line(name, "is being made by another process; waiting for it")

    def progress(self, name: str, progress: Progress) -> None:
        left, now = self._clock.left(progress), time.monotonic()
        told = progress.figures or progress.done == progress.total or progress.what != self._what
        if not told and now - self._told < PAUSE:
            return
        self._what, self._told = progress.what, now
        parts = [f"{progress.what} {progress.done}/{progress.total}", figures(progress)]
        self.line(
            name, "  ".join(part for part in (*parts, f"about {units.seconds(left)} left" if left else "") if part)
        )

    def finished(self, name: str, seconds: float) -> None:
        self.line(name, f"done in {units.seconds(seconds)}")

    def line(self, name: str, text: str) -> None:
        print(f"{name}: {text}", file=sys.stderr, flush=True)


class Live:
    """A watcher that shows a bar with epochs and time left for the running stage, and a line for each finished one."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, SpinnerColumn, TextColumn
        from rich.progress import Progress as Bars

        self._console = Console(stderr=True, highlight=False)
        self._bars: Bars = Bars(
            SpinnerColumn(),
            TextColumn("{task.fields[stage]}", style="bold"),
            BarColumn(bar_width=24),
            TextColumn("{task.description}"),
            console=self._console,
            transient=True,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def cached(self, name: str) -> None:
        self._say(name, "from the store", "dim")

    def started(self, name: str) -> None:
        self._clock = Clock()
        self._task = self._bars.add_task("starting", total=None, stage=name)

    def note(self, name: str, text: str) -> None:
        self._say(name, text, "yellow")

    def waiting(self, name: str) -> None:
        self._say(name, "is being made by another process; waiting for it", "yellow")

    def progress(self, name: str, progress: Progress) -> None:
        assert self._task is not None
        left = self._clock.left(progress)
        parts = (
            f"{progress.what} {progress.done}/{progress.total}",
            figures(progress),
            f"{units.seconds(left)} left" if left else "",
        )
        self._bars.update(
            self._task,
            completed=progress.done,
            total=progress.total,
            description="  ".join(part for part in parts if part),
        )

    def finished(self, name: str, seconds: float) -> None:
        assert self._task is not None
        self._bars.remove_task(self._task)
        self._say(name, units.seconds(seconds), "green")

    def _say(self, name: str, text: str, style: str) -> None:
        from rich.text import Text

        self._bars.console.print(Text.assemble(("  " + name.ljust(12), "bold"), " ", (text, style)))


class Clock:
    """Estimates the time left from the mean time per unit, without the first unit, which includes start-up.

    The estimate restarts when a stage changes to other units, such as the epochs of a second training.
    """

    def __init__(self) -> None:
        self._first: tuple[int, float] | None = None
        self._what = ""

    def left(self, progress: Progress) -> float | None:
        """Return the estimated seconds left, or None before the second unit."""
        now = time.monotonic()
        if self._first is None or self._what != progress.what or progress.done < self._first[0]:
            self._first, self._what = (progress.done, now), progress.what
            return None
        units_done = progress.done - self._first[0]
        return (now - self._first[1]) / units_done * (progress.total - progress.done) if units_done else None


def figures(progress: Progress) -> str:
    """Return the metrics of a progress report as text: ``loss 0.412  val_accuracy 95.1 %``."""
    shown = ((name, progress.figures[name]) for name in FIGURES if name in progress.figures)
    return "  ".join(f"{name} {units.percent(v) if 'accuracy' in name else units.number(v, 3)}" for name, v in shown)


def choose() -> Lines | Live:
    """Return the watcher to use: bars if standard error is a terminal, otherwise lines."""
    return Live() if sys.stderr.isatty() else Lines()
