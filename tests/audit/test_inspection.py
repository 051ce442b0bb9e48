"""`edgepipe inspect` on real files."""

import json

from ai_edge_litert import schema_py_generated as schema

from tests.support import edits


def test_all_of_a_file_as_json(edgepipe, models):
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
