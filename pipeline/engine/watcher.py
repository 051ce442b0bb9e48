"""Who is told how a run goes."""

from typing import Protocol

from pipeline.core.progress import Progress


class Watcher(Protocol):
    """Who is told how a run goes."""

    def cached(self, name: str) -> None:
        """The step's result was in the store."""

    def started(self, name: str) -> None:
        """The step runs now."""

    def waiting(self, name: str) -> None:
        """Another process makes this step; it is waited for."""

    def note(self, name: str, text: str) -> None:
        """What is worth knowing of the step before the first training."""

    def progress(self, name: str, progress: Progress) -> None:
        """How far the step is."""

    def finished(self, name: str, seconds: float) -> None:
        """The step's result is in the store."""
