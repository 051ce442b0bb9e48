"""Start-up does not grow with the parts: what a config does not name, and a result in the store does not need, stays
unloaded."""

import subprocess
import sys

import pytest

from pipeline.config import registry

CONFIG = """\
name: a
data: {source: digits}
model: {source: small_cnn}
stages:
  - {stage: train, epochs: 1}
  - {stage: convert, quantization: int8}
  - {stage: verify, of: [convert], checks: [{check: integer_only}]}
"""
NAMED = {
    "DATA": {"digits"}, "TASKS": {"classification"}, "SCORING": {"classification"}, "MODELS": {"small_cnn"},
    "STAGES": {"train", "convert", "verify"}, "CHECKS": {"integer_only", "io", "npu"},
}  # fmt: skip  # of io and npu a target has the types


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """The modules that are loaded when a config is planned and its report can be made."""
    folder = tmp_path_factory.mktemp("startup")
    (folder / "a.yaml").write_text(CONFIG)
    program = """
import contextlib, io, sys
from pipeline.cli import app
sys.argv = ["edgepipe", "plan", "a.yaml", "--store", "store"]
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    app.main()
import pipeline.engine.run, pipeline.report.build, pipeline.report.table
print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("family", NAMED)
def test_parts_that_a_config_does_not_name_are_not_loaded(loaded, family):
    table = getattr(registry, family)
    found = {name for name, where in table.items() if where.partition(":")[0] in loaded}
    assert found <= NAMED[family]


@pytest.mark.parametrize(
    "module",
    [
        "tensorflow", "tf_keras", "ai_edge_litert", "tflite_micro", "sklearn", "matplotlib", "multiprocessing",
        "numpy.ma", "pipeline.tflite", "pipeline.verify.interpreters", "pipeline.verify.measurement",
        "pipeline.keras.conversion.conversion", "pipeline.stages.verification", "pipeline.engine.preflight",
    ],
)  # fmt: skip
def test_what_makes_and_measures_results_is_not_loaded(loaded, module):
    assert module not in loaded
