"""Whole runs of the command line, each in a folder of its own."""

import shutil
import subprocess
import sys

from pipeline.report.document import Report

HEAD = """\
name: tiny
data: {source: digits}
model: {source: small_cnn}
stages:
"""

STAGES = """\
  - {stage: train, epochs: 3}
  - {stage: convert, name: float, quantization: float32}
  - {stage: prune, sparsity: 0.5, epochs: 2}
  - {stage: convert, name: small, quantization: int8}
  - {stage: verify, of: [small], baseline: float, checks: [{check: accuracy, min: 0.5}]}
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

# To be formatted with a target.
TARGETED = """\
name: tiny
target: {target}
data: {{source: digits}}
model: {{source: small_cnn, filters: 4}}
stages:
  - {{stage: train, epochs: 1}}
  - {{stage: convert, quantization: int8}}
  - {{stage: verify, of: [convert]}}
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

    def share(self, other):
        """Another one, with a copy of this one's store."""
        shutil.copytree(self.folder / "store", other.folder / "store")
        return other

    @property
    def report(self):
        return Report.model_validate_json((self.folder / "runs" / "tiny" / "report.json").read_bytes())

    def models(self):
        return {path.name: path.read_bytes() for path in (self.folder / "runs" / "tiny").glob("*.tflite")}
