"""Fixtures that several test modules share."""

import subprocess
import sys

import pytest

from pipeline.cli import app
from pipeline.config import config
from pipeline.engine.plan import plan
from pipeline.report.document import Report

HEAD = """\
name: tiny
data: {source: digits}
model: {source: small_cnn}
stages:
"""

CONFIG = """
name: tiny
seed: 5
data: {source: digits}
model: {source: small_cnn, filters: 4}
stages:
  - {stage: train, epochs: 4, batch_size: 64, learning_rate: 0.01}
  - {stage: convert, name: float, quantization: float32}
  - {stage: convert, name: ptq, from: train, quantization: int8, calibration: {halves: true}}
  - {stage: prune, from: train, sparsity: 0.5, epochs: 3, batch_size: 64, min_weights: 100}
  - {stage: qat, epochs: 3, batch_size: 64}
  - {stage: convert, name: small, quantization: int8, io: uint8}
  - stage: verify
    of: [ptq, small]
    baseline: float
    checks:
      - {check: accuracy, min: 0.5}
      - {check: integer_only}
      - {check: io, of: [small], input: uint8, output: uint8}
      - {check: sparsity, of: [small], min: 0.45}
"""


class Pipeline:
    """A folder with a config, a store and a runs folder."""

    def __init__(self, folder, config=CONFIG):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tiny.yaml").write_text(config)

    def command(self, *arguments, verb="run"):
        store = ["--store", str(self.folder / "store")]
        out = ["--out", str(self.folder / "runs")] if verb == "run" else []
        return [sys.executable, "-m", "pipeline", verb, "tiny.yaml", *store, *out, *arguments]

    def run(self, *arguments, code=0, verb="run"):
        """Standard output and standard error of a finished command that ended with `code`."""
        done = subprocess.run(self.command(*arguments, verb=verb), cwd=self.folder, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout, done.stderr

    @property
    def report(self):
        return Report.model_validate_json((self.folder / "runs" / "tiny" / "report.json").read_bytes())

    def models(self):
        return {path.name: path.read_bytes() for path in (self.folder / "runs" / "tiny").glob("*.tflite")}


@pytest.fixture(scope="session")
def cold(tmp_path_factory):
    """The tiny config, run once in an empty store."""
    pipeline = Pipeline(tmp_path_factory.mktemp("cold"))
    pipeline.out, pipeline.err = pipeline.run()
    return pipeline


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
            app.main()
        return end.value.code or 0, *capsys.readouterr()

    return run
