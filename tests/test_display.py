"""What a log tells of a run."""

from pipeline import display
from pipeline.stage import Progress


def told(capsys, *done):
    """The lines of a stage that reports these."""
    lines = display.Lines()
    lines.started("stage")
    for progress in done:
        lines.progress("stage", progress)
    return capsys.readouterr().err.splitlines()[1:]


EXAMPLES = [Progress("example", n, 64, {}) for n in (16, 32, 48, 64)]
EPOCHS = [Progress("epoch", n, 3, {"loss": 0.5}) for n in (1, 2, 3)]


def test_units_are_told_first_and_last_and_epochs_always(capsys, monkeypatch):
    examples, epochs = told(capsys, *EXAMPLES), told(capsys, *EPOCHS)
    assert examples == ["stage: example 16/64", "stage: example 64/64"]
    assert [line.split("  about")[0] for line in epochs] == [f"stage: epoch {n}/3  loss 0.5" for n in (1, 2, 3)]
    monkeypatch.setattr(display, "PAUSE", 0.0)
    assert len(told(capsys, *EXAMPLES)) == 4
