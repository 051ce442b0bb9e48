"""`edgepipe verify` on files that edgepipe did not make."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.audit import model_file
from pipeline.config import config
from pipeline.verify.interpreters import litert


@pytest.fixture(scope="module")
def data(models, tmp_path_factory):
    """A YAML file of data on whose test split the float model is always right."""
    x = np.random.default_rng(0).random((90, 16, 16, 3), np.float32)
    scores = litert.run(models["float32"], x).reshape(90, -1)
    y = scores.argmax(axis=1)
    path = tmp_path_factory.mktemp("data") / "data.npz"
    labels = [f"class {i}" for i in range(scores.shape[1])]
    path.with_suffix(".yaml").write_text(f"data: {{source: npz, path: data.npz, labels: {labels}}}")
    half = {"train": slice(0, 60), "test": slice(60, 90)}
    np.savez(path, **{f"{letter}_{name}": a[part] for name, part in half.items() for letter, a in (("x", x), ("y", y))})
    return path.with_suffix(".yaml")


@pytest.fixture
def checks(tmp_path):
    def write(text):
        path = tmp_path / "checks.yaml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def foreign(edgepipe, models, data):
    """The report of an int8 file against a baseline, neither of which a run made."""
    code, out, _ = edgepipe("verify", models["int8"], "--data", data, "--baseline", models["float32"], "--json")
    assert code == 0
    return json.loads(out)


def test_a_foreign_file_is_measured_against_its_baseline(foreign):
    base, facts = foreign["models"]
    assert base["baseline"]
    assert base["metrics"]["accuracy"] == 1.0
    assert facts["examples"] == 30
    assert facts["drop"]["accuracy"] == 1.0 - facts["metrics"]["accuracy"]
    assert facts["paired"]["lost"] == round(facts["drop"]["accuracy"] * 30)
    assert facts["split_sha256"] == foreign["data"]["splits"]["test"]["sha256"]


def test_the_worst_tensor_of_a_foreign_file_comes_first(foreign):
    base, facts = foreign["models"]
    assert not base["tensors"]
    worst = facts["tensors"][0]
    assert worst["sqnr_db"] == min(row["sqnr_db"] for row in facts["tensors"])
    assert sum(worst["counts"]) == sum(worst["float_counts"])


def test_without_data_the_bytes_alone_speak(edgepipe, models):
    code, out, _ = edgepipe("verify", models["float16"], "--json")
    (facts,) = json.loads(out)["models"]
    assert code == 0
    assert facts["quantization"] == "float16"
    assert facts["metrics"] == {}


def test_checks_gate_a_build(edgepipe, models, data, checks):
    path = checks("checks: [{check: integer_only}, {check: accuracy, min: 0.2}]")
    code, out, _ = edgepipe("verify", models["elu"], "--checks", path)
    assert code == 5
    assert "ELU" in out
    assert "unavailable" in out
    code, _, _ = edgepipe("verify", models["int8"], "--data", data, "--checks", path)
    assert code == 0


def test_the_pages_are_written_on_demand(edgepipe, models, tmp_path):
    edgepipe("verify", models["int8"], "--out", tmp_path / "seen")
    assert {path.name for path in (tmp_path / "seen").iterdir()} == {
        "report.html", "report.json", "report.md", "junit.xml",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["{garbage}"], 3, "not a valid .tflite file"),
        (["nowhere.tflite"], 3, "nowhere.tflite"),
        (["{int8}", "--data", "digits"], 3, "takes examples of shape (16, 16, 3) (received (8, 8, 1))"),
        (["{int8}", "--data", "photos.zip"], 2, "--data: must be digits, an .npz file or a YAML file with `data:`"),
        (["{int8}", "--target", "cortex-m5"], 2, "did you mean 'cortex-m"),
        (["{int8}", "--checks", "{wrong}"], 2, "wrong.yaml:1:10: checks.acuracy: there is no such check"),
        (["{int8}", "--checks", "{needs}"], 2, "max_drop needs a baseline"),
    ],
)
def test_what_is_wrong_is_one_clear_error(edgepipe, models, tmp_path, arguments, code, message):
    (tmp_path / "garbage.tflite").write_bytes(b"not a model at all, but long enough to look at")
    (tmp_path / "wrong.yaml").write_text("checks: [{check: acuracy, min: 0.5}]")
    (tmp_path / "needs.yaml").write_text("checks: [{check: accuracy, max_drop: 0.5}]")
    names = {
        "garbage": tmp_path / "garbage.tflite", "int8": models["int8"], "wrong": tmp_path / "wrong.yaml",
        "needs": tmp_path / "needs.yaml",
    }  # fmt: skip
    found, out, err = edgepipe("verify", *(argument.format(**names) for argument in arguments))
    assert found == code
    assert message in err
    assert out == ""


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    path = tmp_path_factory.mktemp("arrays") / "samples.npz"
    rng = np.random.default_rng(4)
    np.savez(path, zeta=rng.random((20, 4), np.float32), alpha=rng.random((20, 6), np.float32))
    return path


def test_every_output_on_every_runtime_and_against_the_baseline(edgepipe, models, arrays):
    code, out, _ = edgepipe("verify", models["multi"], "--data", arrays, "--baseline", models["multi_float"], "--json")
    assert code == 0
    _, facts = json.loads(out)["models"]
    rows = {row["name"]: row for row in facts["answers"]}
    inputs = dict(np.load(arrays))
    found, base = litert.run(models["multi"], inputs), litert.run(models["multi_float"], inputs)
    for name in ("total", "extra"):
        apart = np.abs(found[name] - base[name])
        assert rows[name]["error"]["max_abs"] == pytest.approx(apart.max())
        assert rows[name]["error"]["mean_abs"] == pytest.approx(apart.mean())
        assert 0.9 < rows[name]["error"]["cosine"] <= 1
        assert [row["runtime"] for row in rows[name]["runtimes"]] == ["xnnpack", "reference", "tflm"]
        assert rows[name]["runtimes"][1]["max_lsb"] is not None
    assert facts["examples"] == 20


def test_a_file_that_a_runtime_refuses_is_reported_with_the_reason(edgepipe, models, tmp_path):
    np.savez(tmp_path / "x.npz", image=np.random.default_rng(0).random((4, 16, 16, 3), np.float32))
    code, out, _ = edgepipe("verify", models["dynamic"], "--data", "x.npz")
    assert code == 0
    assert "note TFLM:" in " ".join(out.split())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("digits", "examples with labels are for a file with one input and one output (received 2 inputs, 2 outputs)"),
        ({"zeta": (3, 4), "alfa": (3, 6)}, "input 'alpha' is missing\n    rename 'alfa', if that is it"),
        ({"zeta": (3, 4), "x": (3, 6)}, "input 'alpha' is missing\n"),
        ({"zeta": (3, 4), "x": (3, 6)}, "'x' is not one of the model's inputs\n    the inputs are 'alpha', 'zeta'"),
        ({"zeta": (3, 4), "alpha": (2, 6)}, "all inputs need the same number of examples"),
        ({"zeta": (3, 5), "alpha": (3, 6)}, "input 'zeta' takes examples of shape (4,) (received (5,))"),
        ({"zeta": (), "alpha": (3, 6)}, "zeta must be an array (N, ...) of finite numbers (received float64 ())"),
    ],
)
def test_arrays_that_do_not_fit_are_one_clear_error(edgepipe, models, tmp_path, data, message):
    if isinstance(data, dict):
        np.savez(tmp_path / "x.npz", **{name: np.zeros(shape) for name, shape in data.items()})
        data = "x.npz"
    code, out, err = edgepipe("verify", models["multi"], "--data", data)
    assert (code, out) == (3, "")
    assert message in err


def test_a_checks_file_names_a_target_as_a_config_does(tmp_path: Path) -> None:
    (tmp_path / "checks.yaml").write_text("target: board.yaml\n")
    (tmp_path / "board.yaml").write_text("like: cortex-m4\nname: board\n")
    target = config.load_as(model_file.Promises, tmp_path / "checks.yaml").target
    assert target is not None
    assert (target.name, target.ram_bytes) == ("board", 262144)
