"""Whole runs through the command line, as a user starts them."""

import gzip
import hashlib
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.data.sources.digits import Digits
from pipeline.report.document import Report
from tests.support.pipelines import CONFIG, Pipeline


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def warm(cold, pipeline):
    """The tiny config over a copy of the store that the cold run filled."""
    return cold.share(pipeline())


def test_the_run_folder_holds_the_deliverables_and_nothing_else(cold):
    deliverables = (
        "SHA256SUMS config.yaml decisions.npz float.tflite junit.xml log.txt ptq.tflite report.html report.json "
        "report.md"
    )
    assert names(cold.folder / "runs" / "tiny") == [*deliverables.split(), "small.tflite"]
    assert names(cold.folder / "runs") == ["tiny"]
    assert cold.report.data.splits["train"].examples == 1080


def test_the_terminal_shows_progress_and_then_the_result(cold):
    lines = cold.err.splitlines()
    assert lines[:2] == ["reading tiny.yaml", "loading TensorFlow"]
    assert re.search(r"train: epoch 3/4 .* left", cold.err)
    assert max(map(len, lines)) <= 80
    assert "PASS" in cold.out
    assert cold.out.rstrip().endswith("report.html")
    assert "oneDNN" not in cold.err
    assert not [line for line in lines if "tensorflow" in line.lower() and not line.startswith("loading TensorFlow")]


def test_the_resolved_config_runs_to_the_same_result(cold, tmp_path):
    again = Pipeline(tmp_path, (cold.folder / "runs" / "tiny" / "config.yaml").read_text())
    out, _ = again.run("--json", "--store", str(cold.folder / "store"), verb="plan")
    assert all(row["hit"] for row in json.loads(out))


@pytest.mark.parametrize("name", ["float", "ptq", "small"])
def test_every_number_is_true_of_the_file_that_ships(cold, name):
    facts = next(model for model in cold.report.models if model.name == name)
    content = (cold.folder / "runs" / "tiny" / facts.file).read_bytes()
    assert facts.sha256 == hashlib.sha256(content).hexdigest()
    assert facts.bytes == len(content)
    assert facts.gzip_bytes == len(gzip.compress(content, 9, mtime=0))
    confusion = confusion_by_hand(content)
    assert facts.metrics["accuracy"] == np.trace(confusion) / confusion.sum()
    assert np.array_equal(facts.confusion, confusion)
    assert facts.examples == 359


def confusion_by_hand(content):
    """Counts (10, 10) over the test split, with nothing of the pipeline but its data."""
    from ai_edge_litert.interpreter import Interpreter

    split = Digits().split("test")
    x, y = split.batch(np.arange(len(split)))
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    port, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    scale, zero = port["quantization"]
    counts = np.zeros((10, 10), int)
    for image, label in zip(x, y, strict=True):
        if scale:
            info = np.iinfo(port["dtype"])
            image = np.clip(np.floor(image / np.float32(scale) + 0.5) + zero, info.min, info.max)
        interpreter.set_tensor(port["index"], image[np.newaxis].astype(port["dtype"]))
        interpreter.invoke()
        counts[label, interpreter.get_tensor(result["index"])[0].argmax()] += 1
    return counts


def test_each_file_carries_the_contract_of_the_data(cold):
    models = {model.name: model for model in cold.report.models}
    assert {model.contract for model in models.values()} == {Digits().contract()}
    always = ["not_normalised", "turned"]
    integers = [*always, "not_quantized", "floored", "bytes"]
    assert [row.mistake for row in models["float"].mistakes] == always
    assert [row.mistake for row in models["ptq"].mistakes] == [*integers, "minus_128"]
    assert [row.mistake for row in models["small"].mistakes] == integers
    page = (cold.folder / "runs" / "tiny" / "report.html").read_text()
    assert "uint8 0 to 16, 8x8x1 grey, NHWC" in page
    assert "uint8 bytes read as int8" in page


def test_the_halves_of_calibration_tell_how_far_accuracy_moves(cold):
    told = [json.loads(path.read_text()) for path in (cold.folder / "store").rglob("facts.json")]
    (facts,) = [facts for facts in told if (facts.get("calibration") or {}).get("halves")]
    halves = facts["calibration"]["halves"]
    one, other = halves["accuracy"]
    assert 0.5 < one <= 1
    assert halves["accuracy_spread"] == abs(one - other) <= halves["decisions"]
    assert "on the validation split, where accuracy is" in facts["notes"][-1]


def test_the_report_tells_what_each_file_is(cold):
    models = {model.name: model for model in cold.report.models}
    assert {name: model.quantization for name, model in models.items()} == {
        "float": "float32", "ptq": "int8", "small": "int8",
    }  # fmt: skip
    assert [models[name].integer_only for name in ("float", "ptq", "small")] == [False, True, True]
    assert models["small"].input.dtype == "UINT8"
    assert models["small"].macs == models["float"].macs > 0


def test_the_report_tells_what_is_left_of_pruning(cold):
    models = {model.name: model for model in cold.report.models}
    assert models["small"].pruned_sparsity == pytest.approx(0.5, abs=0.02)
    assert models["ptq"].pruned_sparsity is None


def test_the_report_tells_how_far_each_file_is_from_the_baseline(cold):
    models = {model.name: model for model in cold.report.models}
    assert models["ptq"].drop["accuracy"] == models["float"].metrics["accuracy"] - models["ptq"].metrics["accuracy"]
    assert models["float"].error.max_abs < 1e-5
    assert models["small"].error.agreement > 0.95
    assert models["small"].error.runtimes.keys() == {"reference", "tflm"}
    assert min(models["small"].error.runtimes.values()) > 0.95


def test_two_cold_runs_in_two_stores_give_the_same_bytes(cold, tmp_path):
    other = Pipeline(tmp_path)
    other.run()
    assert other.models() == cold.models()


def test_a_cached_run_imports_no_tensorflow_and_makes_nothing(warm):
    program = (
        "import sys\n"
        "from pipeline.cli.app import app\n"
        "try: app()\n"
        "finally: print(sorted({'tensorflow', 'tf_keras', 'matplotlib'} & {*sys.modules}), file=sys.stderr)"
    )
    command = [sys.executable, "-c", program, *warm.command()[3:]]
    done = subprocess.run(command, cwd=warm.folder, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"
    assert all(step.cached for step in warm.report.steps)


def test_changing_the_sparsity_reruns_exactly_what_depends_on_it(sparser):
    made = [step.name for step in sparser.report.steps if not step.cached]
    assert made == ["prune", "qat", "small", "verify"]


def test_other_limits_measure_nothing_again(warm):
    out, _ = warm.run("--set", "stages.verify.checks.accuracy.min=0.9999", "--json", code=5)
    report = Report.model_validate_json(out)
    assert all(step.cached for step in report.steps)
    assert report.status == "fail"
    assert {check.status for check in report.checks if check.check == "accuracy"} == {"fail"}
    assert (warm.folder / "runs" / "tiny" / "report.html").is_file()


def test_a_damaged_entry_is_made_again_to_the_same_bytes(warm, cold):
    damaged = next((warm.folder / "store" / "v1" / "entries").glob("*/model.tflite"))
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
    _, err = warm.run()
    assert "is damaged; it will be made again" in err
    assert warm.models() == cold.models()


def test_an_interrupted_run_says_where_it_stands_and_goes_on_to_the_same_bytes(cold, tmp_path):
    pipeline = Pipeline(tmp_path)
    ends = {
        "train": (signal.SIGINT, 130, "interrupted in train after epoch 2 of 4; the same command goes on from there"),
        "prune": (signal.SIGTERM, 143, "ended by SIGTERM in prune after epoch 2 of 3; the same command goes on from"),
        "qat": (signal.SIGKILL, -9, "qat: epoch 2/3"),
    }
    before = ""
    for stage, (number, code, said) in ends.items():  # each new start goes on from the end before
        with subprocess.Popen(pipeline.command(), cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
            told = []
            for line in process.stderr:
                told.append(line)
                if line.startswith(f"{stage}: epoch 2/"):
                    process.send_signal(number)
        assert process.returncode == code
        assert told[-1].startswith(said)
        assert not before or f"{before}: goes on from epoch 2\n" in told
        before = stage
    _, err = pipeline.run()
    assert "qat: goes on from epoch 2" in err
    assert "qat: epoch 3/" in err
    assert "qat: epoch 1/" not in err
    assert pipeline.models() == cold.models()
    assert names(tmp_path / "store" / "v1" / "building") == []
    assert names(tmp_path / "store" / "v1" / "partial") == []
    assert names(tmp_path / "runs") == ["tiny"]


def test_two_runs_at_once_on_one_store_make_each_stage_once(cold, tmp_path):
    pipeline = Pipeline(tmp_path)
    pair = [
        subprocess.Popen(pipeline.command(), cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    errors = [process.communicate()[1] for process in pair]
    assert [process.returncode for process in pair] == [0, 0], errors
    assert sum(error.count(": done in ") for error in errors) == len(cold.report.steps)
    assert pipeline.models() == cold.models()


def test_a_failed_stage_leaves_no_run_folder_and_names_the_log(warm):
    _, err = warm.run("--set", "stages.prune.class_weights=[1.0, 2.0]", code=4)
    assert re.search(r"tiny\.yaml:10:5: stages\.prune: class_weights must have one weight for each of 10 labels", err)
    assert names(warm.folder / "runs") == ["tiny.failed.log"]
    assert "runs/tiny.failed.log" in err


TRAINED = CONFIG.partition("  - {stage: convert")[0]
QUANTIZATIONS = (
    TRAINED
    + """\
  - {stage: convert, name: float32, quantization: float32}
  - {stage: convert, name: float16, quantization: float16}
  - {stage: convert, name: dynamic, quantization: dynamic}
  - {stage: convert, name: int8, quantization: int8, calibration: {samples: 50}}
  - {stage: convert, name: border, quantization: int8, io: float32}
  - {stage: convert, name: int16x8, quantization: int16x8}
  - {stage: convert, name: one_scale, quantization: int8, per_channel_dense: false}
  - {stage: convert, name: unverified, quantization: float32}
  - stage: verify
    of: [float16, dynamic, int8, border, int16x8, one_scale]
    baseline: float32
    checks: [{check: agreement, min: 0.9}]
"""
)


@pytest.fixture(scope="session")
def quantizations(cold, pipeline):
    """A file of each kind from the network that the cold run trained."""
    found = cold.share(pipeline(QUANTIZATIONS))
    found.run()
    return found


@pytest.mark.parametrize(
    ("name", "port", "integer_only"),
    [
        ("float32", "FLOAT32", False), ("float16", "FLOAT32", False), ("dynamic", "FLOAT32", False),
        ("int8", "INT8", True), ("border", "FLOAT32", False), ("int16x8", "INT16", True),
    ],
)  # fmt: skip
def test_each_quantization_gives_what_it_says(quantizations, name, port, integer_only):
    facts = next(model for model in quantizations.report.models if model.name == name)
    assert facts.quantization == {"border": "int8"}.get(name, name)
    assert (facts.input.dtype, facts.output.dtype) == (port, port)
    assert facts.input.shape == (1, 8, 8, 1)
    assert facts.integer_only is integer_only
    assert facts.error.agreement > 0.95


def test_a_trained_file_is_converted_without_training_it_further(cold, tmp_path):
    keys = {step.name: step.key for step in cold.report.steps}
    trained = cold.folder / "store" / "v1" / "entries" / keys["train"] / "model.h5"
    stages = "stages:\n  - {stage: train, epochs: 0}\n  - {stage: convert, name: float, quantization: float32}\n"
    config = f"name: tiny\ndata: {{source: digits}}\nmodel: {{source: file, path: {trained}}}\n{stages}"
    Pipeline(tmp_path, config).run()
    assert (tmp_path / "runs" / "tiny" / "float.tflite").read_bytes() == cold.models()["float.tflite"]


@pytest.mark.parametrize(("name", "scales"), [("int8", 10), ("one_scale", 1)])
def test_dense_layers_have_a_scale_a_unit_or_one(quantizations, name, scales):
    facts = next(model for model in quantizations.report.models if model.name == name)
    dense = next(layer for layer in facts.layers if layer.op == "FULLY_CONNECTED")
    assert dense.weights_scales == scales


def test_equal_stages_are_one_entry_of_the_store(quantizations):
    keys = {step.name: step.key for step in quantizations.report.steps}
    assert keys["float32"] == keys["unverified"]


def test_a_file_that_no_verify_names_has_no_measured_numbers(quantizations):
    facts = next(model for model in quantizations.report.models if model.name == "unverified")
    assert not facts.verified
    assert facts.metrics == {}
    assert facts.integer_only is None
    assert facts.bytes == len((quantizations.folder / "runs" / "tiny" / "unverified.tflite").read_bytes())


def test_inputs_and_outputs_carry_the_keras_names(quantizations, cold):
    from ai_edge_litert.interpreter import Interpreter

    for path in [*Path(quantizations.folder / "runs/tiny").glob("*.tflite"), cold.folder / "runs/tiny/small.tflite"]:
        signatures = Interpreter(model_path=str(path)).get_signature_list()
        assert signatures == {"serving_default": {"inputs": ["image"], "outputs": ["scores"]}}
