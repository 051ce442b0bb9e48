"""`edgepipe inspect` on real files, and `edgepipe verify` with arrays by the names of a file's inputs."""

import json

import fuzz
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from tflite_models import models  # noqa: F401  (fixture)

from pipeline.verify import output_comparison
from pipeline.verify.interpreters import litert


def test_all_of_a_file_as_json(edgepipe, models):  # noqa: F811
    code, out, _ = edgepipe("inspect", models["multi"], "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["op_versions"].keys() == facts["ops"].keys() == {"ADD", "FULLY_CONNECTED"}
    assert all(layer["version"] == facts["op_versions"][layer["op"]] for layer in facts["layers"])
    assert {port["signature_name"] for port in facts["inputs"]} == {"zeta", "alpha"}
    (signature,) = facts["signatures"]
    assert signature["key"] == "serving_default"
    assert {name: port["shape"] for name, port in signature["outputs"].items()} == {"total": [1, 5], "extra": [1, 2]}
    assert len(facts["tensors"]) == facts["subgraphs"][0]["tensors"]
    assert max(len(tensor["scales"]) for tensor in facts["tensors"]) == 5
    assert facts["description"] == "MLIR Converted."
    assert facts["min_runtime_version"].count(".") == 2


def test_a_float_op_is_told_with_its_tensor_and_layer(edgepipe, models):  # noqa: F811
    _, out, _ = edgepipe("inspect", models["elu"], "--json")
    uses = json.loads(out)["float_uses"]
    read = next(use for use in uses if use["op"] == "ELU" and use["role"] == "reads")
    assert (read["tensor"], read["made_by"], read["layer"]) == ("tfl.dequantize", "DEQUANTIZE", "conv")


def test_subgraphs_name_what_runs_them(edgepipe, models):  # noqa: F811
    _, out, _ = edgepipe("inspect", models["loop"], "--json")
    assert [graph["run_by"] for graph in json.loads(out)["subgraphs"]] == [[], *2 * [["WHILE #0 of subgraph 0"]]]


def test_the_text_fits_80_columns_and_says_what_is_left_out(edgepipe, models, monkeypatch, tmp_path):  # noqa: F811
    monkeypatch.setenv("COLUMNS", "80")
    root = fuzz.unpack(models["multi_float"].read_bytes())
    code = root.operatorCodes[0]
    code.builtinCode, code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM, schema.BuiltinOperator.CUSTOM
    code.customCode = b"FlexErf"
    (tmp_path / "flex.tflite").write_bytes(fuzz.pack(root))
    code, out, _ = edgepipe("inspect", "flex.tflite")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    text = " ".join(out.split())
    assert "FlexErf (needs TensorFlow's Flex delegate)" in text
    assert "and 8 more" in text  # float uses
    assert "serving_default(alpha, zeta) -> extra, total" in text


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    path = tmp_path_factory.mktemp("arrays") / "samples.npz"
    rng = np.random.default_rng(4)
    np.savez(path, zeta=rng.random((20, 4), np.float32), alpha=rng.random((20, 6), np.float32))
    return path


def test_every_output_on_every_runtime_and_against_the_baseline(edgepipe, models, arrays):  # noqa: F811
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


def test_error_by_hand():
    error = output_comparison.error(np.array([[1.0, 2.0]], np.float32), np.array([[1.0, 1.0]], np.float32))
    assert (error.mean_abs, error.max_abs) == (0.5, 1.0)
    assert error.sqnr_db == pytest.approx(10 * np.log10(2))
    assert error.cosine == pytest.approx(3 / np.sqrt(10))
    zero = output_comparison.error(np.zeros((1, 2), np.float32), np.zeros((1, 2), np.float32))
    assert (zero.max_abs, zero.sqnr_db, zero.cosine) == (0.0, None, None)


def test_a_file_that_a_runtime_refuses_is_reported_with_the_reason(edgepipe, models, tmp_path):  # noqa: F811
    np.savez(tmp_path / "x.npz", image=np.random.default_rng(0).random((4, 16, 16, 3), np.float32))
    code, out, _ = edgepipe("verify", models["dynamic"], "--data", "x.npz")
    assert code == 0
    assert "note TFLM:" in " ".join(out.split())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("digits", "examples with labels are for a file with one input and one output (received 2 inputs, 2 outputs)"),
        ({"zeta": (3, 4), "alfa": (3, 6)}, "input 'alfa' is not one of the model's inputs\n    did you mean 'alpha'?"),
        ({"zeta": (3, 4), "alpha": (2, 6)}, "all inputs need the same number of examples"),
        ({"zeta": (3, 5), "alpha": (3, 6)}, "input 'zeta' takes examples of shape (4,) (received (5,))"),
        ({"zeta": (), "alpha": (3, 6)}, "zeta must be an array (N, ...) of finite numbers (received float64 ())"),
    ],
)
def test_arrays_that_do_not_fit_are_one_clear_error(edgepipe, models, tmp_path, data, message):  # noqa: F811
    if isinstance(data, dict):
        np.savez(tmp_path / "x.npz", **{name: np.zeros(shape) for name, shape in data.items()})
        data = "x.npz"
    code, out, err = edgepipe("verify", models["multi"], "--data", data)
    assert (code, out) == (3, "")
    assert message in err
