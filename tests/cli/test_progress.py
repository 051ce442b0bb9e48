"""What a log tells of a run."""

from pipeline.cli import progress
from pipeline.core.progress import Progress


def told(capsys, *done):
    """The lines of a stage that reports these."""
    lines = progress.Lines()
    lines.started("stage")
    for each in done:
        lines.progress("stage", each)
    return capsys.readouterr().err.splitlines()[1:]


EXAMPLES = [Progress("example", n, 64, {}) for n in (16, 32, 48, 64)]
EPOCHS = [Progress("epoch", n, 3, {"loss": 0.5}) for n in (1, 2, 3)]


def test_units_are_told_first_and_last_and_epochs_always(capsys, monkeypatch):
    examples, epochs = told(capsys, *EXAMPLES), told(capsys, *EPOCHS)
    assert examples == ["stage: example 16/64", "stage: example 64/64"]
    assert [line.split("  about")[0] for line in epochs] == [f"stage: epoch {n}/3  loss 0.5" for n in (1, 2, 3)]
    monkeypatch.setattr(progress, "PAUSE", 0.0)
    assert len(told(capsys, *EXAMPLES)) == 4
