"""Show the progress of a run on standard error: a live line on a terminal, plain lines elsewhere.

Nothing is ever silent. A terminal's line moves all the time. Elsewhere a line comes at least every `PAUSE` seconds,
which grows with the time that a stage takes, so that the log of a long run stays short.
"""

import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING

from typing_extensions import Self

from pipeline.cli.signals import Ended
from pipeline.cli.stand import Stand, figures
from pipeline.core import units
from pipeline.core.progress import Progress, listening
from pipeline.report.wrapping import wrapped

if TYPE_CHECKING:
    from rich.progress import Task, TaskID

PAUSE, TICK = 1.5, 0.25  # longest silence in seconds, and how often it is looked for
SLOWER = 90  # in a longer stage the longest silence is this part of its time
ALWAYS = 40  # lines of a stage that are printed as they come; later ones keep the pause
BAR = 10  # width of the bar in columns


class Lines:
    """A watcher that prints lines, for logs."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.stand, self.clock = Stand(clock), clock
        self.width = shutil.get_terminal_size().columns  # COLUMNS, or 80
        self._lock, self._over = threading.RLock(), threading.Event()
        self._printed, self._last = 0, clock()

    def __enter__(self) -> Self:
        threading.Thread(target=self._beat, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        with self._lock:
            place(error, self.stand)

    def doing(self, what: str) -> None:
        self._begin(what, step=False)
        self.line(what)

    def cached(self, name: str) -> None:
        self.line(f"{name}: from the store")
        self.stand.end(name)

    def started(self, name: str) -> None:
        self._begin(name, step=True)
        self.line(f"{name}: starts")

    def note(self, name: str, text: str) -> None:
        self.line(f"{name}: {text}")

    def waiting(self, name: str) -> None:
        self._begin(f"{name} is being made by another process; waiting for it", step=False)
        self.line(self.stand.label)

    def progress(self, name: str, progress: Progress) -> None:
        with self._lock:
            before = self.stand.progress
            self.stand.heard(progress)
            first = before is None or before.what != progress.what
            ends = progress.within is None and (bool(progress.curves) or progress.done == progress.total)
            if (first or ends) and (self._printed < ALWAYS or self._due()):
                self.line(self.stand.line(self.width))

    def finished(self, name: str, seconds: float) -> None:
        with self._lock:
            self.line(f"{name}: done in {units.seconds(seconds)}")
            self.stand.end(name)

    def beat(self) -> None:
        """Say what the run is at, if nothing was printed for too long."""
        with self._lock:
            if self.stand.label and self._due():
                self.line(self.stand.line(self.width))

    def line(self, text: str) -> None:
        with self._lock:
            self._printed, self._last = self._printed + 1, self.clock()
            print("\n".join(wrapped(text, self.width, "  ")), file=sys.stderr, flush=True)

    def _begin(self, label: str, step: bool) -> None:
        with self._lock:
            self.stand.begin(label, step)
            self._printed = 0

    def _due(self) -> bool:
        now = self.clock()
        return now - self._last >= max(PAUSE, (now - self.stand.since) / SLOWER)

    def _beat(self) -> None:
        while not self._over.wait(TICK):
            self.beat()


class Live:
    """A watcher that shows a bar, the progress and the time left of what runs, and a line for each finished step."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, ProgressColumn, SpinnerColumn
        from rich.progress import Progress as Bars
        from rich.text import Text

        self.stand = stand = Stand()
        self._console = console = Console(stderr=True, highlight=False)

        class Told(ProgressColumn):
            """Rendered anew with each refresh, ten times a second, so that the time always moves."""

            def render(self, task: "Task") -> Text:
                return Text(stand.line(console.width - BAR - 4))

        self._bars = Bars(SpinnerColumn(), BarColumn(BAR), Told(), console=console, transient=True)
        self._task: TaskID = self._bars.add_task("", total=None)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()
        place(error, self.stand)

    def doing(self, what: str) -> None:
        self._begin(what, step=False)

    def cached(self, name: str) -> None:
        self._say(name, "from the store", "dim")
        self.stand.end(name)

    def started(self, name: str) -> None:
        self._begin(name, step=True)

    def note(self, name: str, text: str) -> None:
        self._say(name, text, "yellow")

    def waiting(self, name: str) -> None:
        self._begin(f"{name} is being made by another process; waiting for it", step=False)

    def progress(self, name: str, progress: Progress) -> None:
        self.stand.heard(progress)
        inner = progress.within
        part = inner.done / inner.total if inner and inner.total else 0.0
        self._bars.update(self._task, completed=progress.done + part, total=progress.total or None)

    def finished(self, name: str, seconds: float) -> None:
        self._say(name, "  ".join([units.seconds(seconds), *figures(self.stand.metrics)]), "green")
        self.stand.end(name)

    def _begin(self, label: str, step: bool) -> None:
        self.stand.begin(label, step)
        self._bars.reset(self._task, total=None)

    def _say(self, name: str, text: str, style: str) -> None:
        from rich.text import Text

        lines = wrapped(f"{name.ljust(12)} {text}", self._console.width - 2, " " * 13)
        lead, rest = lines[0][: len(name)], "\n  ".join([lines[0][len(name) :], *lines[1:]])
        self._bars.console.print(Text.assemble("  ", (lead, "bold"), (rest, style)))


def place(error: BaseException | None, stand: Stand) -> None:
    """Tell a signal where it found the run."""
    if isinstance(error, Ended):
        error.where = stand.interrupted()


@contextmanager
def doing(what: str) -> Iterator[None]:
    """Show that a command is at work, and what its child processes report."""
    with choose() as watcher, listening(partial(watcher.progress, "")):
        watcher.doing(what)
        yield


def choose() -> Lines | Live:
    """Return the watcher to use: live if standard error is a terminal, otherwise lines."""
    return Live() if sys.stderr.isatty() else Lines()
