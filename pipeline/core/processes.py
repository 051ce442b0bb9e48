"""Run a function in a process of its own, so that a crash in it is an error here and its memory is given back.

The process comes from a fork server that has TensorFlow in memory: the first start costs its import, each later one
under 0.1 s. What the process and everything native in it prints goes to a log file.
"""

import contextlib
import math
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

from typing_extensions import Self

from pipeline.core.errors import EdgepipeError, Fault, StageError

P = ParamSpec("P")
Send = Callable[[Any], None]  # the child's way to tell its parent something

# What a fork server imports before the first child: with TensorFlow for stages, without for running .tflite files.
# It passes over what is not installed.
TENSORFLOW, RUNTIMES = (
    ("pipeline.keras.preload",),
    ("pipeline.verify.runtimes.comparison", "pipeline.verify.interpreters.tflm", "tflite_micro"),
)

_EXPLAINED = {
    signal.SIGKILL: "no memory is the usual cause: try a smaller batch_size",
    signal.SIGSEGV: "a fault inside a native library",
    signal.SIGABRT: "an assertion inside a native library",
    signal.SIGBUS: "a fault inside a native library, or a full disk",
}


def start_server(log: Path | None, preload: Sequence[str] = TENSORFLOW) -> None:
    """Start this process's fork server now, in the background, so that its imports overlap other work.

    What it and its children print goes to the log, and nowhere without one. Does nothing when it runs already.
    """
    context = _context()
    context.set_forkserver_preload(list(preload))
    with _output_to(log or Path(os.devnull)):
        forkserver.ensure_running()


@dataclass(frozen=True)
class Limits:
    """What a child may use before it is ended; its own children have the limits of time and memory too.

    seconds  wall time; as much of each core, because a process that nobody waits for any more ends by that alone
    memory   bytes beyond what it starts with
    message  bytes of what it sends at once: the parent holds that in memory
    """

    seconds: float | None = None
    memory: int | None = None
    message: int | None = None


def call(
    who: str,
    log: Path | None,
    hear: Send,
    function: Callable[Concatenate[Send, P], None],
    *args: P.args,
    **kwargs: P.kwargs,
) -> None:
    """Run ``function(send, *args, **kwargs)`` in a child process; `hear` gets what it sends.

    log is the file that the child's output goes to; the fork server's own when it is None. Raises what the function
    raised when that is an EdgepipeError, and StageError, naming `who`, for any other exception and for a process that
    was killed by a signal.
    """
    with _Child(who, log, Limits(), function, args, kwargs) as child:
        child.listen(hear)


def gather(
    who: str, calls: Sequence[tuple[Any, ...]], limits: Limits = Limits(), preload: Sequence[str] = RUNTIMES
) -> list[Any]:
    """Run ``function(send, *args)`` for each ``(function, *args)`` in a process of its own, all at once.

    Returns what each sent last, in the order of the calls. Raises as `call` does, for the first that fails, and
    StageError for one that goes beyond its limits. TensorFlow is not loaded for them where it is not already: the
    fork server imports `preload`, when it does not run yet.
    """
    start_server(None, preload)
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(_Child(who, None, limits, call[0], call[1:], {})) for call in calls]
        return [_last(child) for child in children]


def _last(child: "_Child") -> Any:
    said: list[Any] = [None]
    child.listen(said.append)
    return said[-1]


class _Child:
    """A child process: started on entry, gone on exit."""

    def __init__(
        self,
        who: str,
        log: Path | None,
        limits: Limits,
        function: Callable[..., None],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self.who, self.log, self.limits = who, log, limits
        self._story = f"the whole story: {log}" if log else ""
        start_server(log)
        context = _context()
        self._ours, self._theirs = context.Pipe()
        arguments = (self._theirs, log, limits, function, args, kwargs)
        self._process = context.Process(target=_child, args=arguments, name=f"edgepipe {who}")

    def __enter__(self) -> Self:
        try:
            self._process.start()
        except (OSError, EOFError):
            raise StageError(Fault("the process that starts the stages has ended", do=self._story)) from None
        self._theirs.close()
        self._deadline = time.monotonic() + (self.limits.seconds or math.inf)
        return self

    def __exit__(self, *error: object) -> None:
        if self._process.pid and self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._ours.close()

    def listen(self, hear: Send) -> None:
        """Hear the child until it ends; raises what went wrong with it."""
        error: EdgepipeError | None = None
        done = False  # said by the process itself: native code can end it with exit code 0 too
        with contextlib.suppress(EOFError, ConnectionResetError):
            while True:
                kind, message = self._receive()
                if kind == "done":
                    done = True
                elif kind == "error":
                    error = message
                elif kind == "failed":
                    error = StageError(Fault(f"{self.who} failed", received=message, do=self._story))
                else:
                    hear(message)
        self._process.join()
        if error:
            raise error
        if not done:
            raise StageError(_death(self.who, self._process.exitcode or 0, self.limits, self._story))

    def _receive(self) -> Any:
        if self.limits.seconds is not None and not self._ours.poll(max(0.0, self._deadline - time.monotonic())):
            limit = f"{self.limits.seconds:g} s"
            raise StageError(Fault(f"{self.who} must end within {limit}", received="no end by then", do=self._story))
        try:
            return pickle.loads(self._ours.recv_bytes(self.limits.message))
        except OSError as error:
            if self.limits.message is None or error.errno is not None:  # the pipe's own
                raise
            rule = f"{self.who} must tell less than {self.limits.message >> 20} MiB"
            raise StageError(Fault(rule, received="more", do=self._story)) from None


def _death(who: str, code: int, limits: Limits, story: str) -> Fault:
    if code >= 0:
        return Fault(f"{who} ended its process", received=f"exit code {code}", do=story)
    number = -code
    try:
        name = signal.Signals(number).name
        hint = _EXPLAINED.get(signal.Signals(number), "")
    except ValueError:
        name, hint = "unknown", ""
    if limits.memory and hint and number != signal.SIGKILL:
        hint = f"the end of the {limits.memory >> 20} MiB that it may use, or {hint}"
    do = "; ".join(part for part in (hint, story) if part)
    return Fault(f"{who} was killed", received=f"signal {number}, {name}", do=do)


def _context() -> ForkServerContext:
    return multiprocessing.get_context("forkserver")


def _child(
    connection: Connection,
    log: Path | None,
    limits: Limits,
    function: Callable[..., None],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    if log is not None:
        with log.open("ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
    if limits.memory is not None:
        _limit_memory(limits.memory)
    if limits.seconds is not None:
        _limit_time(limits.seconds)
    threading.Thread(target=_end_with_parent, args=(connection,), daemon=True).start()

    def send(message: Any) -> None:
        connection.send(("message", message))

    try:
        function(send, *args, **kwargs)
        connection.send(("done", None))
    except EdgepipeError as error:
        traceback.print_exc()
        connection.send(("error", _picklable(error)))
    except MemoryError:
        traceback.print_exc()
        connection.send(("failed", "no memory left"))
    except Exception as error:
        traceback.print_exc()
        text = str(error).strip() or type(error).__name__
        connection.send(("failed", f"{type(error).__name__}: {text.splitlines()[0][:500]}"))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # native libraries may hang or crash in their own clean-up; the result is already sent


def _limit_memory(more: int) -> None:
    """Let this process's address space grow by that many bytes at most (Linux alone tells the present size)."""
    import resource

    with contextlib.suppress(OSError, ValueError):  # a lower limit holds already
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limit = pages * resource.getpagesize() + more
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _limit_time(seconds: float) -> None:
    """Let this process and each that it starts run so long on every core.

    Native code that never ends holds Python's lock, so that `_end_with_parent` can't see a parent go.
    """
    import resource

    limit = math.ceil(seconds) * (os.cpu_count() or 1)
    with contextlib.suppress(OSError, ValueError):  # a lower limit holds already
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))


def _end_with_parent(connection: Connection) -> None:
    """The parent never sends; the pipe ends when it dies, be it by kill -9, and so does this process."""
    with contextlib.suppress(EOFError, OSError):
        connection.recv()
    os._exit(1)


def _picklable(error: EdgepipeError) -> EdgepipeError:
    with contextlib.suppress(Exception):
        pickle.dumps(error)
        return error
    return StageError(Fault(str(error)))


@contextlib.contextmanager
def _output_to(log: Path) -> Iterator[None]:
    """Point file descriptors 1 and 2 at a file: a process that is started meanwhile keeps them."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with log.open("ab") as file:
        try:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            yield
        finally:
            for number, copy in enumerate(saved, start=1):
                os.dup2(copy, number)
                os.close(copy)
