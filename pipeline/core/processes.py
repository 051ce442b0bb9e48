"""Run functions in child processes, so that a crash becomes an exception here and memory is returned to the system.

The processes are forked by a fork server that has TensorFlow loaded: the first start waits for the import of
TensorFlow, each later one takes less than 0.1 s. Everything that a child prints, including output of native
libraries, goes to a log file.
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

from pipeline.core import progress
from pipeline.core.errors import EdgepipeError, Fault, StageError
from pipeline.core.telling import telling

P = ParamSpec("P")
Send = Callable[[Any], None]  # sends an object from the child to its parent

# Modules that a fork server imports before it forks the first child: TENSORFLOW for stages, RUNTIMES (without
# TensorFlow) for running .tflite files. Modules that are not installed are ignored.
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
    """Start this process's fork server in the background, so that its imports overlap with other work.

    Its output and that of its children is appended to `log`, or discarded if `log` is None. Does nothing if the
    server is already running.
    """
    context = _context()
    context.set_forkserver_preload(list(preload))
    with _output_to(log or Path(os.devnull)):
        forkserver.ensure_running()


@dataclass(frozen=True)
class Limits:
    """Resource limits of a child process. The limits of time and memory also apply to the processes that it starts.

    seconds  wall time; also the limit of CPU time per core, which ends a process that the parent no longer waits for
    memory   growth of the address space beyond its size at the start, in bytes
    message  size of one message to the parent, in bytes; the parent holds a message in memory
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
    """Run ``function(send, *args, **kwargs)`` in a child process and pass every message that it sends to `hear`.

    The child's output is appended to `log`; if `log` is None it goes where the fork server's output goes. Raises the
    function's exception if it is an EdgepipeError. Raises StageError, with `who` as the name of the child, for any
    other exception and for a process that was killed by a signal.
    """
    with _Child(who, log, Limits(), function, args, kwargs) as child:
        child.listen(hear)


def warm(log: Path) -> None:
    """Wait until the fork server has loaded TensorFlow, so that the next call starts at once."""
    call("the process that loads TensorFlow", log, lambda message: None, _nothing)


def _nothing(send: Send) -> None:
    """Do nothing; called in a child process."""


def gather(
    who: str,
    calls: Sequence[tuple[Any, ...]],
    limits: Limits = Limits(),
    preload: Sequence[str] = RUNTIMES,
    hear: progress.Hear | None = None,
) -> list[Any]:
    """Run ``function(send, *args)`` for each ``(function, *args)`` in a child process of its own, all concurrently.

    Returns the last message of each child, in the order of `calls`. For the first child that fails it raises what
    `call` would raise, and StageError for a child that exceeds its limits. If the fork server is not running yet, it
    is started with `preload`, so that TensorFlow need not be loaded. `hear` receives the progress of the first child.
    """
    start_server(None, preload)
    with contextlib.ExitStack() as stack:
        tells = [hear is not None and not place for place in range(len(calls))]  # nobody reads the others meanwhile
        children = [
            stack.enter_context(_Child(who, None, limits, call[0], call[1:], {}, told))
            for call, told in zip(calls, tells, strict=True)
        ]
        return [_last(child, hear) for child in children]


def _last(child: "_Child", hear: progress.Hear | None) -> Any:
    """The last message of a child that is no progress, which `hear` receives."""
    said: list[Any] = [None]

    def listen(message: Any) -> None:
        if not isinstance(message, progress.Progress):
            said[0] = message
        elif hear is not None:
            hear(message)

    child.listen(listen)
    return said[0]


class _Child:
    """A child process as a context manager: started on entry, killed on exit if it is still running."""

    def __init__(
        self,
        who: str,
        log: Path | None,
        limits: Limits,
        function: Callable[..., None],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        tells: bool = False,
    ) -> None:
        self.who, self.log, self.limits = who, log, limits
        self._story = f"the whole story: {log}" if log else ""
        start_server(log)
        context = _context()
        self._ours, self._theirs = context.Pipe()
        arguments = (self._theirs, log, limits, function, args, kwargs, tells)
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
        """Pass the child's messages to `hear` until it ends. Raises its error; StageError if it died or hit a limit."""
        error: EdgepipeError | None = None
        done = False  # set by a message, because native code can end the process with exit code 0 too
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
            if self.limits.message is None or error.errno is not None:  # an error of the pipe, not the size limit
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
    tells: bool,
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the parent handles it
    if log is not None:
        with log.open("ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
    if limits.memory is not None:
        _limit_memory(limits.memory)
    if limits.seconds is not None:
        _limit_time(limits.seconds)
    threading.Thread(target=_end_with_parent, args=(connection,), daemon=True).start()

    lock = threading.Lock()  # progress comes from any thread

    def send(message: Any) -> None:
        with lock:
            connection.send(("message", message))

    try:
        with progress.listening(progress.paced(send)) if tells else contextlib.nullcontext():
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
        connection.send(("failed", telling(error)))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # native libraries may hang or crash during clean-up, and the result has been sent


def _limit_memory(more: int) -> None:
    """Limit the growth of this process's address space to `more` bytes. Linux only: it needs /proc/self/statm."""
    import resource

    with contextlib.suppress(OSError, ValueError):  # raised if a lower limit is already set
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limit = pages * resource.getpagesize() + more
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _limit_time(seconds: float) -> None:
    """Limit the CPU time of this process, and of each process that it starts, to `seconds` per core.

    Native code in an endless loop holds Python's global interpreter lock, so that `_end_with_parent` can't run.
    """
    import resource

    limit = math.ceil(seconds) * (os.cpu_count() or 1)
    with contextlib.suppress(OSError, ValueError):  # raised if a lower limit is already set
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))


def _end_with_parent(connection: Connection) -> None:
    """End this process when its parent dies, even by SIGKILL: the parent never sends, so recv returns on EOF only."""
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
    """Redirect file descriptors 1 and 2 to a file. A process started meanwhile keeps the redirection."""
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
