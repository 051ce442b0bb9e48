"""Run a function in a process of its own, so that a crash in it is an error here and its memory is given back.

The process comes from a fork server that has TensorFlow in memory: the first start costs its import, each later one
under 0.1 s. What the process and everything native in it prints goes to a log file.
"""

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

from pipeline.errors import EdgepipeError, Fault, StageError

P = ParamSpec("P")
Send = Callable[[Any], None]  # the child's way to tell its parent something

_EXPLAINED = {
    signal.SIGKILL: "no memory is the usual cause: try a smaller batch_size",
    signal.SIGSEGV: "a fault inside a native library",
    signal.SIGABRT: "an assertion inside a native library",
    signal.SIGBUS: "a fault inside a native library, or a full disk",
}


def start_server(log: Path) -> None:
    """Start the fork server now, in the background, so that its import of TensorFlow overlaps other work."""
    context = _context()
    context.set_forkserver_preload(["pipeline.preload"])
    with _output_to(log):
        forkserver.ensure_running()


def call(
    who: str,
    log: Path,
    hear: Send,
    function: Callable[Concatenate[Send, P], None],
    *args: P.args,
    **kwargs: P.kwargs,
) -> None:
    """Run ``function(send, *args, **kwargs)`` in a child process; `hear` gets what it sends.

    Raises what the function raised when that is an EdgepipeError, and StageError, naming `who`, for any other
    exception and for a process that was killed by a signal.
    """
    start_server(log)
    context = _context()
    ours, theirs = context.Pipe()
    process = context.Process(target=_child, args=(theirs, log, function, args, kwargs), name=f"edgepipe {who}")
    error: EdgepipeError | None = None
    try:
        try:
            process.start()
        except OSError:
            raise StageError(
                Fault("the process that starts the stages has ended", do=f"the whole story: {log}")
            ) from None
        theirs.close()
        with contextlib.suppress(EOFError, ConnectionResetError):
            while True:
                kind, message = ours.recv()
                if kind == "error":
                    error = message
                elif kind == "failed":
                    error = StageError(Fault(f"stage {who!r} failed", received=message, do=f"the whole story: {log}"))
                else:
                    hear(message)
        process.join()
    finally:
        if process.pid and process.is_alive():
            process.kill()
            process.join()
        ours.close()
    if error:
        raise error
    if process.exitcode:
        raise StageError(_death(who, process.exitcode, log))


def _death(who: str, code: int, log: Path) -> Fault:
    if code > 0:
        return Fault(f"stage {who!r} ended its process", received=f"exit code {code}", do=f"the whole story: {log}")
    number = -code
    try:
        name = signal.Signals(number).name
        hint = _EXPLAINED.get(signal.Signals(number), "")
    except ValueError:
        name, hint = "unknown", ""
    do = f"{hint}; the whole story: {log}" if hint else f"the whole story: {log}"
    return Fault(f"stage {who!r} was killed", received=f"signal {number}, {name}", do=do)


def _context() -> ForkServerContext:
    return multiprocessing.get_context("forkserver")


def _child(
    connection: Connection, log: Path, function: Callable[..., None], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    threading.Thread(target=_end_with_parent, args=(connection,), daemon=True).start()

    def send(message: Any) -> None:
        connection.send(("message", message))

    try:
        function(send, *args, **kwargs)
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
