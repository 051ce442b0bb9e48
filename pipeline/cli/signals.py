"""Signals that end a command, as exceptions, so that it says where it stands and leaves nothing half done."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

_ENDING = {  # signal -> its handler if nobody asked for another one, such as nohup does
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGHUP: signal.SIG_DFL,
}


class Ended(BaseException):  # no error, and `except Exception` must not catch it
    """A signal asked the command to end. Unlike KeyboardInterrupt, typer does not turn it into an exit code.

    where: what the command was at, and how it goes on, as the end of a sentence
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number, self.where = number, ""

    def __str__(self) -> str:
        what = "interrupted" if self.number == signal.SIGINT else f"ended by {signal.Signals(self.number).name}"
        return what + self.where


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Raise `Ended` in the main thread for each signal that would end the process."""
    before = {number: signal.getsignal(number) for number in _ENDING}
    ours = [number for number, usual in _ENDING.items() if before[number] is usual]
    for number in ours:
        signal.signal(number, _raise)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])


def _raise(number: int, frame: FrameType | None) -> None:
    raise Ended(number)
