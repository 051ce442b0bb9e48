"""The interface for observers of a run, such as a progress display."""

from typing import Protocol

from pipeline.core.progress import Progress


class Watcher(Protocol):
    """Observer of a run. `name` is the name of a step."""

    def doing(self, what: str) -> None:
        """Called when the run does something that is no step, such as "loading TensorFlow", until the next call."""

    def cached(self, name: str) -> None:
        """Called if the step's result was in the store already."""

    def started(self, name: str) -> None:
        """Called when the step starts to run."""

    def waiting(self, name: str) -> None:
        """Called if another process is making this step and the run waits for it."""

    def note(self, name: str, text: str) -> None:
        """Called with a remark about the step."""

    def progress(self, name: str, progress: Progress) -> None:
        """Called when a running step reports its progress."""

    def finished(self, name: str, seconds: float) -> None:
        """Called when the step's result is in the store; `seconds` is the wall time it took."""
