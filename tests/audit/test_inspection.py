"""`edgepipe inspect` on real files."""

import json

import pytest
from ai_edge_litert import schema_py_generated as schema

from tests.support import edits


@pytest.fixture
def facts(edgepipe, models):
    """All of a file with two inputs and two outputs, as JSON."""
    code, out, _ = edgepipe("inspect", models["multi"], "--json")
    assert code == 0
    return json.loads(out)


def test_ops_are_told_with_their_versions(facts):
    assert facts["op_versions"].keys() == facts["ops"].keys() == {"ADD", "FULLY_CONNECTED"}
    assert all(layer["version"] == facts["op_versions"][layer["op"]] for layer in facts["layers"])


def test_inputs_and_outputs_are_told_with_the_names_of_the_signature(facts):
    assert {port["signature_name"] for port in facts["inputs"]} == {"zeta", "alpha"}
    (signature,) = facts["signatures"]
    assert signature["key"] == "serving_default"
    assert {name: port["shape"] for name, port in signature["outputs"].items()} == {"total": [1, 5], "extra": [1, 2]}


def test_every_tensor_is_told_with_its_scales(facts):
    assert len(facts["tensors"]) == facts["subgraphs"][0]["tensors"]
    assert max(len(tensor["scales"]) for tensor in facts["tensors"]) == 5


def test_what_made_the_file_and_what_runs_it_is_told(facts):
    assert facts["description"] == "MLIR Converted."
    assert facts["min_runtime_version"].count(".") == 2


def test_a_float_op_is_told_with_its_tensor_and_layer(edgepipe, models):
    _, out, _ = edgepipe("inspect", models["elu"], "--json")
    uses = json.loads(out)["float_uses"]
    read = next(use for use in uses if use["op"] == "ELU" and use["role"] == "reads")
    assert (read["tensor"], read["made_by"], read["layer"]) == ("tfl.dequantize", "DEQUANTIZE", "conv")


def test_subgraphs_name_what_runs_them(edgepipe, models):
    _, out, _ = edgepipe("inspect", models["loop"], "--json")
    assert [graph["run_by"] for graph in json.loads(out)["subgraphs"]] == [[], *2 * [["WHILE #0 of subgraph 0"]]]


def test_the_text_fits_80_columns_and_says_what_is_left_out(edgepipe, models, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "80")
    root = edits.unpack(models["multi_float"].read_bytes())
    code = root.operatorCodes[0]
    code.builtinCode, code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM, schema.BuiltinOperator.CUSTOM
    code.customCode = b"FlexErf"
    (tmp_path / "flex.tflite").write_bytes(edits.pack(root))
    code, out, _ = edgepipe("inspect", "flex.tflite")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    text = " ".join(out.split())
    assert "FlexErf (needs TensorFlow's Flex delegate)" in text
    assert "and 8 more" in text  # float uses
    assert "serving_default(alpha, zeta) -> extra, total" in text
