"""Standard output whose reader may go away, as that of ``edgepipe run CONFIG | head`` does."""

import os
import sys
from typing import Any, TextIO


class Output:
    """Standard output that drops what comes after its reader has gone, so that the command and its exit code go on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text, or drop it when nobody reads."""
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._drop()
            return len(text)

    def flush(self) -> None:
        """Write what is buffered, or drop it when nobody reads."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._drop()

    def _drop(self) -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def install() -> None:
    """Put it in the place of this process's standard output."""
    sys.stdout = Output(sys.stdout)
