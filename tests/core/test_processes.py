"""Processes of their own: what comes back from them, and what a crash in one is.

The fork server has TensorFlow in memory, and the whole session pays for that once.
"""

import os
import select
import signal
import subprocess
import sys
import threading

import pytest

from pipeline.core import processes, progress
from pipeline.core.errors import ConfigError, EdgepipeError, Fault, InputError, StageError, StoreError


class LocalError(EdgepipeError):
    def __init__(self, *faults):
        super().__init__(*faults)
        self.lock = threading.Lock()  # can't be pickled


def count_to(send, number, step=1):
    for i in range(0, number, step):
        send(i)


def fail(send, error):
    send("before")
    raise error


def fail_unpicklably(send):
    raise LocalError(Fault("is not for travelling"))


def kill(send, number):
    os.kill(os.getpid(), number)
    threading.Event().wait()


def leave(send, code):
    os._exit(code)


def leave_politely(send):
    sys.exit(0)


def send_what_can_not_be_sent(send):
    send(threading.Lock())


def print_everywhere(send):
    os.write(1, b"native output\n")
    os.write(2, b"native error\n")
    print("python output")


@pytest.fixture
def call(tmp_path):
    """Runs a function in a child; gives what it sent."""

    def run(function, *args, **kwargs):
        heard = []
        processes.call("stage 'train'", tmp_path / "log.txt", heard.append, function, *args, **kwargs)
        return heard

    return run


def fault_of(call, *args):
    with pytest.raises(StageError) as caught:
        call(*args)
    (fault,) = caught.value.faults
    assert "'train'" in fault.rule
    assert "log.txt" in fault.do
    return fault


def test_messages_come_in_order(call):
    assert call(count_to, 1000, step=2) == list(range(0, 1000, 2))


@pytest.mark.parametrize("kind", [ConfigError, InputError, StageError, StoreError])
def test_an_error_of_ours_crosses_whole(call, kind):
    error = kind(Fault("must hold", "a:1:2", "field", "3", "do that"), Fault("second"))
    with pytest.raises(kind) as caught:
        call(fail, error)
    assert type(caught.value) is kind
    assert caught.value.faults == error.faults


@pytest.mark.parametrize(
    ("error", "received"),
    [
        (RuntimeError("first line\nsecond line"), "RuntimeError: first line"),
        (ValueError(), "ValueError"),
        (MemoryError(), "no memory left"),
    ],
)
def test_any_other_exception_is_a_stage_error_that_names_the_stage(call, tmp_path, error, received):
    fault = fault_of(call, fail, error)
    assert fault.rule == "stage 'train' failed"
    assert fault.received == received
    assert f"{type(error).__name__}" in (tmp_path / "log.txt").read_text()


def test_an_error_that_can_not_travel_still_arrives(call):
    with pytest.raises(StageError, match="is not for travelling"):
        call(fail_unpicklably)


def test_a_message_that_can_not_travel_is_a_stage_error(call):
    assert "pickle" in fault_of(call, send_what_can_not_be_sent).received


@pytest.mark.parametrize(
    ("number", "text", "hint"),
    [
        (signal.SIGSEGV, "signal 11, SIGSEGV", "native library"),
        (signal.SIGKILL, "signal 9, SIGKILL", "no memory"),
        (signal.SIGABRT, "signal 6, SIGABRT", "assertion"),
        (signal.SIGTERM, "signal 15, SIGTERM", ""),
    ],
)
def test_a_death_by_signal_names_the_stage_and_the_signal(call, number, text, hint):
    fault = fault_of(call, kill, number)
    assert fault.rule == "stage 'train' was killed"
    assert fault.received == text
    assert hint in fault.do


@pytest.mark.parametrize("code", [3, 0])
def test_a_process_that_ends_before_its_work_is_done_has_failed(call, code):
    fault = fault_of(call, leave, code)
    assert (fault.rule, fault.received) == ("stage 'train' ended its process", f"exit code {code}")


def test_leaving_through_sys_exit_is_not_success(call):
    assert fault_of(call, leave_politely).received == "exit code 0"


def test_the_next_stage_runs_after_a_crash(call):
    fault_of(call, kill, signal.SIGSEGV)
    assert call(count_to, 3) == [0, 1, 2]


def test_all_output_goes_to_the_log_and_none_to_the_terminal(call, tmp_path, capfd):
    call(print_everywhere)
    assert capfd.readouterr() == ("", "")
    log = (tmp_path / "log.txt").read_text()
    assert all(line in log for line in ("native output", "native error", "python output"))


def test_an_error_while_listening_ends_the_child(tmp_path):
    def hear(message):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        processes.call("stage 'train'", tmp_path / "log.txt", hear, fail, RuntimeError("never heard"))


# The last two run in a process of their own, whose fork server imports no TensorFlow.
PARENT = """
import os, signal, sys, threading
from multiprocessing import forkserver
from pathlib import Path
from pipeline.core import processes

processes.start_server = lambda log: None

def block(send, fifo):
    with open(fifo, "w") as file:
        file.write("x")
        file.flush()
        threading.Event().wait()

def say(send):
    send("alive")

if __name__ == "__main__":
    log = Path("log.txt")
    if sys.argv[1:] == ["block"]:
        processes.call("stage 'train'", log, print, block, "fifo")
    else:
        processes.call("stage 'train'", log, print, say)
        server = forkserver._forkserver._forkserver_pid
        os.kill(server, signal.SIGKILL)
        os.waitid(os.P_PID, server, os.WEXITED | os.WNOWAIT)
        processes.call("stage 'train'", log, print, say)
"""


@pytest.fixture
def parent(tmp_path):
    (tmp_path / "parent.py").write_text(PARENT)
    return [sys.executable, "parent.py"]


def test_the_child_dies_with_a_parent_that_is_killed(parent, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    fifo = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)  # a parent that fails must not be waited for
    with subprocess.Popen([*parent, "block"], cwd=tmp_path) as process:
        assert select.select([fifo], [], [], 60)[0]
        assert os.read(fifo, 1) == b"x"  # the child runs and holds the other end
        process.kill()
        assert select.select([fifo], [], [], 60)[0]
        assert os.read(fifo, 1) == b""  # nobody holds it any more
    os.close(fifo)


def test_a_fork_server_that_was_killed_is_started_again(parent, tmp_path):
    done = subprocess.run(parent, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "alive\nalive\n"


def work(send, units, result):
    for done in range(units):
        progress.step("unit", done, units)
    send(result)


def test_of_processes_beside_each_other_the_first_tells_its_progress():
    heard = []
    found = processes.gather("work", [(work, 3, "a"), (work, 5, "b")], hear=heard.append)
    assert found == ["a", "b"]
    assert heard[0] == progress.Progress("unit", 0, 3)
    assert {each.total for each in heard} == {3}
