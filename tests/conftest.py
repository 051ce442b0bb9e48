"""Fixtures that several test modules share."""

import sys

import pytest

from pipeline import cli, config
from pipeline.plan import plan

HEAD = """\
name: tiny
data: {source: digits}
model: {source: small_cnn}
stages:
"""


@pytest.fixture
def written(tmp_path):
    """Writes text to tiny.yaml in the test's folder and returns its path."""

    def write(text, name="tiny.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


@pytest.fixture
def planned(written):
    """The steps of a config text, by name, after `--set` overrides; without `name:` it is a list of stages."""

    def steps(text, *overrides):
        path = written(text if "name:" in text.partition("stages:")[0] and "stages:" in text else HEAD + text)
        return {step.name: step for step in plan(*config.load(path, overrides))}

    return steps


@pytest.fixture
def edgepipe(monkeypatch, capsys, tmp_path):
    """Runs one command line in this process, in the test's folder; gives (exit code, standard output, error)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEPIPE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["edgepipe", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code or 0, *capsys.readouterr()

    return run
