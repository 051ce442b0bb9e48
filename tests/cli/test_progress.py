"""What a log and a terminal tell of a run, and when."""

import io
import re
import signal

import pytest
from rich.console import Console

from pipeline.cli import progress
from pipeline.cli.progress import ALWAYS, PAUSE, SLOWER, TICK, Lines, Live
from pipeline.cli.signals import Ended
from pipeline.cli.stand import Left, Stand, fitted, unit
from pipeline.core.progress import Progress


class Clock:
    """Time that passes when it is told to."""

    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def lines(clock, monkeypatch):
    """Lines of 80 columns whose beat is the test's."""
    monkeypatch.setenv("COLUMNS", "80")
    return Lines(clock)


EXAMPLES = [Progress("example", n, 64) for n in (16, 32, 48, 64)]
EPOCHS = [Progress("epoch", n, 3, {"loss": [0.5] * n}, kept=True) for n in (1, 2, 3)]


def told(capsys):
    return capsys.readouterr().err.splitlines()


def test_units_are_told_first_and_last_and_epochs_always(lines, capsys):
    lines.started("stage")
    for each in (*EXAMPLES, *EPOCHS):
        lines.progress("stage", each)
    assert [line.split("  ")[0] for line in told(capsys)] == [
        "stage: starts", "stage: example 16/64", "stage: example 64/64", *(f"stage: epoch {n}/3" for n in (1, 2, 3)),
    ]  # fmt: skip


@pytest.mark.parametrize("each", [None, Progress("example", 3, 64), Progress("epoch", 2, 9, {"loss": [0.5, 0.4]})])
def test_no_silence_is_longer_than_the_pause_and_a_long_log_stays_short(lines, clock, capsys, each):
    lines.started("stage")
    if each:
        lines.progress("stage", each)
    capsys.readouterr()
    last, times = clock.now, []
    for _ in range(int(3600 / TICK)):  # an hour without any news
        clock.now += TICK
        lines.beat()
        if told(capsys):
            times.append(clock.now - last)
            last = clock.now
    early = [gap for at, gap in enumerate(times) if sum(times[: at + 1]) < SLOWER * PAUSE]
    assert max(early) <= PAUSE + TICK < 2
    assert len(times) < 500


def test_very_many_epochs_are_told_at_a_bounded_rate(lines, clock, capsys):
    lines.started("stage")
    for n in range(1, 1001):
        clock.now += 0.01
        lines.progress("stage", Progress("epoch", n, 1000, {"loss": [0.5] * n}))
    assert len(told(capsys)) <= ALWAYS + 10 / PAUSE


def test_a_line_says_what_is_at_work_within_an_epoch_and_what_is_left(clock):
    stand = Stand(clock)
    stand.begin("train", step=True)
    stand.heard(Progress("epoch", 0, 10, within=Progress("batch", 0, 100)))
    clock.now += 10
    stand.heard(Progress("epoch", 1, 10, {"loss": [0.5], "val_accuracy": [0.951]}))
    clock.now += 5
    stand.heard(Progress("epoch", 1, 10, within=Progress("batch", 50, 100)))
    assert stand.line(80) == "train: epoch 2/10, batch 50/100  loss 0.5  val_accuracy 95.1 %  1 min 25 s left"
    assert stand.line(75) == "train: epoch 2/10, batch 50/100  val_accuracy 95.1 %  1 min 25 s left"
    clock.now += 15
    assert stand.line(80).endswith("1 min 10 s left")


def test_the_time_left_is_not_told_before_it_can_be(clock):
    left = Left(clock)
    left.heard(Progress("epoch", 0, 10, within=Progress("batch", 1, 100)))
    clock.now += 1
    left.heard(Progress("epoch", 0, 10, within=Progress("batch", 3, 100)))
    assert left.seconds() is None
    left.heard(Progress("another epoch", 3, 10))
    assert left.seconds() is None


def test_work_of_unknown_size_is_named_alone():
    assert unit(Progress("converting", 0, 0)) == "converting"
    assert unit(Progress("model", 1, 3, within=Progress("measuring the arena", 0, 0))) == (
        "model 2/3, measuring the arena"
    )


def test_what_does_not_fit_is_left_out_and_nothing_is_cut():
    parts = ["train: epoch 2/10", "loss 0.5", "val_loss 0.4", "12 s left"]
    assert fitted(parts, 48) == "train: epoch 2/10  val_loss 0.4  12 s left"
    assert fitted(parts, 20) == "train: epoch 2/10"


def test_a_long_note_is_broken_between_phrases(lines, capsys):
    lines.note(
        "train", "training accuracy is 90.0 %, validation accuracy 10.0 %, as good as guessing: do something else"
    )
    assert told(capsys) == [
        "train: training accuracy is 90.0 %, validation accuracy 10.0 %,", "  as good as guessing: do something else",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([], " while starting; the same command starts again"),
        (["doing"], " while loading TensorFlow; the same command starts again"),
        (["cached", "started"], " in train; the same command starts train again and keeps data"),
        (["started", "batch"], " in train; the same command starts train again"),
        (["started", "epoch"], " in train after epoch 2 of 3; the same command goes on from there"),
        (["started", "finished"], "; the same command goes on behind train"),
    ],
)
def test_an_interruption_finds_the_run_where_it_stands(lines, events, said):
    happen = {
        "doing": lambda: lines.doing("loading TensorFlow"),
        "cached": lambda: lines.cached("data"),
        "started": lambda: lines.started("train"),
        "batch": lambda: lines.progress("train", Progress("epoch", 0, 3, within=Progress("batch", 1, 9), kept=True)),
        "epoch": lambda: lines.progress("train", EPOCHS[1]),
        "finished": lambda: lines.finished("train", 1.0),
    }
    for event in events:
        happen[event]()
    with pytest.raises(Ended) as end, lines:
        raise Ended(signal.SIGINT)
    assert str(end.value) == f"interrupted{said}"


def test_the_live_line_fits_80_columns_and_keeps_what_is_finished(monkeypatch):
    file = io.StringIO()
    monkeypatch.setattr("rich.console.Console", lambda **_: Console(file=file, width=80, force_terminal=True))
    with Live() as live:
        live.started("train")
        for each in EPOCHS:
            live.progress("train", each)
            live.progress("train", Progress("epoch", each.done, 3, within=Progress("validation batch", 7, 1000)))
        live.note("train", "goes on from epoch 2")
        live.finished("train", 12.0)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue()).splitlines()
    assert "  train        goes on from epoch 2" in shown
    assert "  train        12 s  loss 0.5" in shown
    assert max(map(len, shown)) <= 80


def test_a_terminal_gets_the_live_line_and_a_pipe_gets_lines(monkeypatch):
    assert isinstance(progress.choose(), Lines)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert isinstance(progress.choose(), Live)
