"""The int8 rules against real converter output: sound files are clean, and each broken one breaks one rule."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from pipeline import tflite
from pipeline.core.errors import StageError
from pipeline.stages import conversion
from pipeline.verify import int8, measurement
from pipeline.verify.checks.int8_spec import Int8Spec, RuleId
from pipeline.verify.model_facts import Breach, ModelFacts
from tests.support import int8_models

Models = dict[str, Path]
Type = schema.TensorType
CODES = {name: code for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}


@pytest.fixture(scope="module")
def models(models: Models, in_child: Any, tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Those of the session, and quantized ones beside them."""
    folder = tmp_path_factory.mktemp("int8-models")
    in_child(int8_models.build, folder)
    return models | {name: folder / f"{name}.tflite" for name in int8_models.NAMES}


def found(source: Path | bytes) -> tuple[Breach, ...]:
    findings = int8.breaches(tflite.read(source))
    assert findings is not None
    return findings


# ---- sound files


@pytest.mark.parametrize(
    "name",
    ["int8", "uint8_io", "float_io", "int16x8", "batch_4", "multi", "lstm", "parts", "answers", "inception"],
)
def test_what_the_converter_makes_is_clean(models: Models, name: str) -> None:
    assert [str(finding) for finding in found(models[name])] == []


@pytest.mark.parametrize("name", ["float32", "float16", "dynamic", "loop", "multi_float"])
def test_other_files_are_outside_of_the_specification(models: Models, name: str) -> None:
    assert int8.breaches(tflite.read(models[name])) is None


# ---- faults of the converter itself (TensorFlow 2.21)


def test_r7_finds_the_bias_scales_of_inception_blocks(models: Models) -> None:
    """AveragePooling2D behind MaxPooling2D, quantization-aware and calibrated: integer-only, and silently wrong."""
    model = tflite.read(models["inception_faulty"])
    assert model.integer_only
    (finding,) = found(models["inception_faulty"])
    assert (finding.rule, finding.severity, finding.op, finding.layer) == ("R7", "fail", "CONV_2D", "left")
    (op,) = (op for op in model.ops if op.index == finding.index)
    data, weights, bias = op.reads
    assert finding.tensor == bias.name
    assert data.scale is not None
    assert float(finding.received) == np.float32(bias.scales[0])
    assert float(finding.expected.split(" = ")[1]) == pytest.approx(data.scale * weights.scales[0], rel=1e-6)
    assert not np.isclose(bias.scales[0], data.scale * weights.scales[0], rtol=0.1)


def test_r9_finds_the_state_of_a_concatenated_lstm(models: Models) -> None:
    """The concatenation gives the LSTM's output its own scale, and its state, which are the same values, keeps another.

    Outputs are wrong by some 30 LSB; every Bidirectional(LSTM) is such a concatenation.
    """
    (finding,) = found(models["lstm_faulty"])
    assert (finding.rule, finding.op, finding.what) == ("R9", "UNIDIRECTIONAL_SEQUENCE_LSTM", "input 18")
    assert finding.received != finding.expected


@pytest.mark.parametrize(("name", "rule"), [("inception_faulty", "R7"), ("lstm_faulty", "R9")])
def test_convert_refuses_to_give_such_a_file(models: Models, name: str, rule: str) -> None:
    with pytest.raises(StageError, match=rf"computes wrong numbers, by the int8 specification .received {rule}: "):
        list(conversion.breaches(models[name].read_bytes()))
    assert list(conversion.breaches(models["inception"].read_bytes())) == []


def test_convert_tells_of_what_computes_right_and_is_not_in_order(models: Models) -> None:
    edit = Edit(models["int8"])
    set_byte(edit)
    (note,) = conversion.breaches(edit.content())
    assert note.startswith("breaks the int8 specification: R3: FULLY_CONNECTED")
    assert list(conversion.breaches(models["elu"].read_bytes())) == []  # the floats are another note's


def test_r1_names_the_float_op_before_what_feeds_it(models: Models) -> None:
    findings = found(models["elu"])
    assert [(f.rule, f.op) for f in findings] == [
        ("R1", "ELU"), ("R1", "DEQUANTIZE"), ("R1", "QUANTIZE"), ("R15", "DEQUANTIZE"),
    ]  # fmt: skip
    assert str(findings[0]) == (
        "R1: ELU #2 (conv): type that it reads is FLOAT32, made by DEQUANTIZE, should be an integer type"
    )


# ---- one file for each rule, with one thing changed


class Edit:
    """An unpacked flatbuffer, its first subgraph's ops found by name."""

    def __init__(self, source: Path) -> None:
        self.root = schema.ModelT.InitFromPackedBuf(source.read_bytes())
        self.graph = self.root.subgraphs[0]

    def op(self, name: str, which: int = 0) -> Any:
        """The n-th op of that name."""
        code = CODES[name]
        return [op for op in self.graph.operators if self.root.operatorCodes[op.opcodeIndex].builtinCode == code][which]

    def input(self, name: str, slot: int, which: int = 0) -> Any:
        return self.graph.tensors[self.op(name, which).inputs[slot]]

    def output(self, name: str, which: int = 0) -> Any:
        return self.graph.tensors[self.op(name, which).outputs[0]]

    def rename(self, name: str, new: str, custom: bytes | None = None) -> None:
        """Make it another op."""
        code = self.root.operatorCodes[self.op(name).opcodeIndex]
        code.builtinCode, code.customCode = CODES[new], custom
        code.deprecatedBuiltinCode = min(CODES[new], 127)

    def values(self, tensor: Any, dtype: str) -> Any:
        """A constant's values, to be changed in place."""
        buffer = self.root.buffers[tensor.buffer]
        buffer.data = np.array(buffer.data, np.uint8)
        return buffer.data.view(dtype)

    def content(self) -> bytes:
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.root.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def scales(tensor: Any, *values: float) -> None:
    tensor.quantization.scale = np.array(values, np.float32)


def points(tensor: Any, *values: int) -> None:
    tensor.quantization.zeroPoint = np.array(values, np.int64)


def one_scale(e: Edit) -> None:
    data, weights, bias = (e.input("CONV_2D", slot) for slot in (0, 1, 2))
    for tensor in (weights, bias):
        points(tensor, 0)
    scales(weights, 0.5)
    scales(bias, data.quantization.scale[0] * 0.5)


def channels_of_activation(e: Edit) -> None:
    out = e.output("CONV_2D", 3)
    scales(out, *[0.1] * 4)
    points(out, *[0] * 4)
    out.quantization.quantizedDimension = 3


def short_bias(e: Edit) -> None:
    bias = e.input("CONV_2D", 2)
    wide = e.values(bias, "<i8")
    e.root.buffers[bias.buffer].data = wide.astype("<i4").view(np.uint8)
    bias.type = Type.INT32


def dead_channel(e: Edit) -> None:
    weights = e.input("CONV_2D", 1)
    e.values(weights, "i1").reshape(weights.shape)[1] = 0


def cut_bias(e: Edit) -> None:
    e.values(e.input("CONV_2D", 2), "<i4")[3] = 2**31 - 1


def set_byte(e: Edit) -> None:
    e.values(e.input("FULLY_CONNECTED", 1), "i1")[5] = -128


def set_type(tensor: Any, number: int) -> None:
    tensor.type = number


def wide_total(e: Edit) -> None:
    total = e.output("ADD")
    set_type(total, Type.INT16)
    points(total, 0)


def open_batch(e: Edit) -> None:
    (image,) = e.graph.inputs
    e.graph.tensors[image].shapeSignature = np.array([-1, 16, 16, 3], np.int32)


@dataclass(frozen=True)
class Case:
    """A sound file with one change, and the first thing that must be said of it."""

    rule: str
    file: str
    change: Callable[[Edit], None]
    op: str
    what: str
    received: str
    expected: str
    severity: str = "fail"


CASES = (
    Case("R1", "int8", lambda e: set_type(e.input("RESHAPE", 1), Type.FLOAT32),
         "RESHAPE", "type that it reads", "FLOAT32, made by the file", "an integer type"),
    Case("R2", "multi", lambda e: scales(e.input("ADD", 0), 0.0),
         "FULLY_CONNECTED", "scale of output", "0.0", "positive and finite"),
    Case("R2", "multi", lambda e: points(e.input("ADD", 0), 128),
         "FULLY_CONNECTED", "zero point of output", "128", "between -128 and 127"),
    Case("R2", "multi", lambda e: setattr(e.input("ADD", 0), "quantization", None),
         "FULLY_CONNECTED", "scale of output", "missing", "one scale"),
    Case("R2", "parts", channels_of_activation, "CONV_2D", "number of scales of output", "4", "1"),
    Case("R3", "int8", set_byte, "FULLY_CONNECTED", "smallest weight", "-128", "at least -127"),
    Case("R4", "int8", lambda e: points(e.input("FULLY_CONNECTED", 1), *[3] * 10),
         "FULLY_CONNECTED", "zero point of the weights", "3", "0"),
    Case("R4", "lstm", lambda e: points(e.input("UNIDIRECTIONAL_SEQUENCE_LSTM", 6), 3),
         "UNIDIRECTIONAL_SEQUENCE_LSTM", "zero point of the weights", "3", "0"),
    Case("R5", "parts", lambda e: setattr(e.input("CONV_2D", 1).quantization, "quantizedDimension", 3),
         "CONV_2D", "axis of the weights' scales", "3", "0"),
    Case("R6", "parts", one_scale,
         "CONV_2D", "number of scales of the weights", "1", "4, one for each channel", "info"),
    Case("R7", "lstm", lambda e: scales(e.input("UNIDIRECTIONAL_SEQUENCE_LSTM", 13), 2.0),
         "UNIDIRECTIONAL_SEQUENCE_LSTM", "bias scale", "2.0", "input scale x weight scale = ..."),
    Case("R7", "int8", lambda e: points(e.input("CONV_2D", 2), *[1] * 8),
         "CONV_2D", "zero point of the bias", "1", "0"),
    Case("R7", "int8", lambda e: setattr(e.input("CONV_2D", 2), "quantization", None),
         "CONV_2D", "number of scales of the bias", "0", "8, as many as the weights'"),
    Case("R8", "int8", lambda e: scales(e.output("SOFTMAX"), 1 / 128),
         "SOFTMAX", "output range of SOFTMAX", "scale 0.0078125, zero point -128", "scale 0.00390625, zero point -128"),
    Case("R8u", "uint8_io", lambda e: points(e.output("QUANTIZE", 1), 3),
         "QUANTIZE", "output range of SOFTMAX", "scale 0.00390625, zero point 3", "scale 0.00390625, zero point 0"),
    Case("R9", "parts", lambda e: scales(e.input("CONCATENATION", 0), 0.5),
         "CONCATENATION", "input 0", "INT8 of scale 0.5, zero point ...", "that of the output, INT8 of scale 0.0..."),
    Case("R9", "answers", lambda e: points(e.output("SELECT"), 7),
         "SELECT", "input 1 (2 of 2 tensors are wrong)", "INT8 of scale ...", "that of the output, INT8 of ...point 7"),
    Case("R10", "multi", wide_total, "ADD", "type of input 0", "INT8", "the output's, INT16"),
    Case("R10", "multi", lambda e: set_type(e.input("ADD", 0), Type.INT32),
         "FULLY_CONNECTED", "type of input 0", "INT8", "the output's, INT32"),
    Case("R11", "answers", lambda e: set_type(e.output("GREATER"), Type.INT8),
         "GREATER", "type of the output", "INT8", "BOOL"),
    Case("R11", "answers", lambda e: set_type(e.output("ARG_MAX"), Type.INT16),
         "ARG_MAX", "type of the output", "INT16", "INT32 or INT64"),
    Case("R12", "int16x8", lambda e: points(e.input("CONV_2D", 0), 5), "CONV_2D", "zero point of input 0", "5", "0"),
    Case("R12", "int16x8", lambda e: scales(e.output("SOFTMAX"), 1 / 256),
         "SOFTMAX", "output range of SOFTMAX", "scale 0.00390625, zero point 0", "scale 3.0517578e-05, zero point 0"),
    Case("R12", "int16x8", short_bias, "CONV_2D", "type of the bias", "INT32", "INT64"),
    Case("R12", "lstm", lambda e: scales(e.input("UNIDIRECTIONAL_SEQUENCE_LSTM", 19), 2**-16),
         "UNIDIRECTIONAL_SEQUENCE_LSTM", "cell state", "INT16 of scale 1.5258789e-05, zero point 0",
         "INT16 with a power of two ..."),
    Case("R13", "int16x8", lambda e: e.rename("RESHAPE", "SPACE_TO_DEPTH"),
         "SPACE_TO_DEPTH", "type of the activations", "INT16", "INT8, the only one of its quantized kernels"),
    Case("R14", "int8", open_batch, "", "shape of input 'image'", "(-1, 16, 16, 3)", "static", "warn"),
    Case("R15", "int8", lambda e: e.rename("AVERAGE_POOL_2D", "CUSTOM", b"FlexAvgPool"),
         "FlexAvgPool", "op", "TensorFlow's FlexAvgPool", "a built-in op"),
    Case("R15", "int8", lambda e: e.rename("AVERAGE_POOL_2D", "CUSTOM", b"Mine"),
         "Mine", "op", "the custom op Mine", "one that the runtime has", "warn"),
    Case("R15", "int8", lambda e: e.rename("RESHAPE", "READ_VARIABLE"),
         "READ_VARIABLE", "op", "READ_VARIABLE", "an op without variables", "warn"),
    Case("R16", "int8", dead_channel,
         "CONV_2D", "number of channels whose weights are all zero", "1 of 8", "0", "warn"),
    Case("R16", "int8", cut_bias,
         "CONV_2D", "bias", "2147483647 in 1 of 8 channels", "inside of the range of INT32", "warn"),
    Case("R16", "multi", lambda e: scales(e.input("FULLY_CONNECTED", 0), 3.9e-9),
         "FULLY_CONNECTED", "8-bit scale of input 0", "3.9e-09", "between 1e-06 and 1000"),
)  # fmt: skip


def fits(text: str, pattern: str) -> bool:
    """Whether the text is the pattern, in which ... stands for anything."""
    first, dots, last = pattern.partition("...")
    return text.startswith(first) and text.endswith(last) if dots else text == pattern


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.rule}-{case.what}")
def test_each_rule_is_broken_alone(models: Models, case: Case) -> None:
    edit = Edit(models[case.file])
    case.change(edit)
    findings = found(edit.content())
    assert {finding.rule for finding in findings} == {case.rule}, [str(finding) for finding in findings]
    first = findings[0]
    assert (first.op, first.what, first.severity) == (case.op, case.what, case.severity)
    assert fits(first.received, case.received), first.received
    assert fits(first.expected, case.expected), first.expected
    assert str(first).startswith(f"{case.rule}: {case.op} #{first.index}" if case.op else f"{case.rule}: graph: ")
    assert str(first).endswith(f"{case.what} is {first.received}, should be {first.expected}")
    if case.op and case.what != "op":
        (op,) = (op for op in tflite.read(edit.content()).ops if op.index == first.index)
        assert first.tensor in [tensor.name for tensor in (*op.reads, *op.outputs)]


def test_every_rule_has_a_case_and_a_name_in_the_check() -> None:
    ids = [rule.id for rule in int8.RULES]
    assert sorted({case.rule for case in CASES}) == sorted(ids)
    assert list(get_args(RuleId)) == [*ids, "R17", "R18"]  # those two are the check's, see below
    assert all(rule.says and rule.source for rule in int8.RULES)


def test_a_bias_scale_is_exact_to_its_fifth_digit(models: Models) -> None:
    for factor, rules in ((1 + 1e-6, []), (1 + 1e-4, ["R7"]), (0.1, ["R7"])):
        edit = Edit(models["int8"])
        bias = edit.input("CONV_2D", 2)
        scales(bias, *(bias.quantization.scale * factor))
        findings = found(edit.content())
        assert [finding.rule for finding in findings] == rules
    assert findings[0].what == "bias scale of channel 0 (8 of 8 are wrong)"
    assert findings[0].layer == "conv1"


def test_rules_look_into_every_subgraph(models: Models) -> None:
    """The second subgraph is a copy of the first, with a fault of its own."""
    edit = Edit(models["int8"])
    other = Edit(models["int8"])
    scales(other.output("SOFTMAX"), 0.5)
    edit.root.subgraphs.append(other.graph)
    (finding,) = found(edit.content())
    assert (finding.rule, finding.subgraph) == ("R8", 1)
    assert "of subgraph 1" in str(finding)


def test_int4_weights_are_seven_at_most(models: Models) -> None:
    edit = Edit(models["int8"])
    weights = edit.input("FULLY_CONNECTED", 1)
    weights.type = Type.INT4
    edit.root.buffers[weights.buffer].data = np.full(1280, 0x17, np.uint8)  # 7 and 1
    assert found(edit.content()) == ()
    edit.values(weights, "u1")[9] = 0x18
    (finding,) = found(edit.content())
    assert (finding.rule, finding.received, finding.expected) == ("R3", "-8", "at least -7")


@pytest.mark.parametrize(
    ("low", "high", "severity"), [(0, 1, None), (-1, 2.5, "warn"), (0, 255, "fail"), (0, 1e-3, "fail"), (0, 0, "fail")]
)
def test_r16_holds_the_input_to_the_data(models: Models, low: float, high: float, severity: str | None) -> None:
    findings = int8.unfit_input(tflite.read(models["int8"]), low, high)
    assert [found.severity for found in findings] == ([severity] if severity else [])
    assert all(str(found).startswith("R16: graph: range of input 'image' is 0 to 0.99") for found in findings)
    assert int8.unfit_input(tflite.read(models["float_io"]), low, high) == ()


def test_nonsense_in_scales_is_reported_and_never_raises(models: Models) -> None:
    values = (0.0, -1.0, 1e-45, 1e-30, 3e38, float("inf"), float("-inf"), float("nan"))
    rng = random.Random(5)
    for name in ("int8", "int16x8", "lstm", "parts", "uint8_io"):
        for _ in range(12):
            edit = Edit(models[name])
            tensors = [tensor for tensor in edit.graph.tensors if tensor.quantization is not None]
            for tensor in rng.sample(tensors, 6):
                count = len(tensor.quantization.scale) if tensor.quantization.scale is not None else 0
                scales(tensor, *(rng.choice(values) for _ in range(count)))
                points(tensor, *(rng.choice((-(2**63), 2**63 - 1, 0, 200)) for _ in range(count)))
            assert all(str(finding) for finding in found(edit.content()))


def test_a_graph_of_thousands_of_tensors_is_judged(models: Models) -> None:
    edit = Edit(models["parts"])
    concat = edit.op("CONCATENATION")
    concat.inputs = np.full(50_000, concat.inputs[0], np.int32)
    scales(edit.graph.tensors[concat.inputs[0]], 0.5)
    assert found(edit.content())


# ---- the check


def facts(**changes: Any) -> ModelFacts:
    known = {"name": "m", "file": "m.tflite", "sha256": "", "bytes": 1, "gzip_bytes": 1, "verified": True}
    return ModelFacts.model_validate(known | changes)


def finding(rule: str, severity: str) -> Breach:
    return Breach.model_validate(
        {"rule": rule, "severity": severity, "op": "CONV_2D", "index": 12, "layer": "mixed3_conv", "tensor": "t",
         "what": "bias scale", "received": "0.0012", "expected": "input scale x weight scale = 0.1"}
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rules", "settings", "status", "value"),
    [
        ((), {}, "pass", 0),
        (None, {}, "unavailable", None),
        ((finding("R7", "fail"), finding("R16", "warn")), {}, "fail", 1),
        ((finding("R7", "fail"), finding("R16", "warn")), {"allow_warnings": False}, "fail", 2),
        ((finding("R16", "warn"), finding("R6", "info")), {}, "pass", 0),
        ((finding("R16", "warn"), finding("R6", "info")), {"allow_warnings": False}, "fail", 1),
        ((finding("R7", "fail"),), {"ignore": ["R7"]}, "pass", 0),
    ],
)
def test_check(rules: Any, settings: dict[str, Any], status: str, value: int | None) -> None:
    check = Int8Spec.model_validate({"check": "int8_spec"} | settings)
    (result,) = check.judge(facts(rules=rules, quantization="dynamic"), None)
    assert (result.status, result.value) == (status, value)
    if status == "fail":
        assert result.why.startswith(
            "R7: CONV_2D #12 (mixed3_conv): bias scale is 0.0012, should be input scale x weight scale = 0.1"
        ) or result.why.startswith("R16")
    if status == "unavailable":
        assert "dynamic" in result.why


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"input": ["int8", "uint8"], "output": ["int8"], "op_versions": {"CONV_2D": 3, "SUB": 1}, "runtime": "2.21.0",
          "sparsity": {"logits": 0.5}, "clusters": {"logits": 256}}, ""),
        ({"output": ["uint8", "float32"]}, "R14: graph: type of the output is int8, should be uint8 or float32"),
        ({"op_versions": {"CONV_2D": 2}}, "R17: CONV_2D: op version is 3, should be at most 2"),
        ({"runtime": "1.5.0"}, "R17: graph: min_runtime_version is 1.14.0, should be at most 1.5.0"),
        ({"sparsity": {"logits": 0.9}}, "R18: graph: share of zeros in 'logits' is 0.5"),
        ({"clusters": {"logits": 16}}, "R18: graph: number of different weights in 'logits' is "),
        ({"clusters": {"logit": 16}}, "R18: graph: number of weight tensors of the layer 'logit' is 0"),
        ({"clusters": {"logits": 16}, "ignore": ["R18"]}, ""),
    ],
)  # fmt: skip
def test_check_of_promises(models: Models, settings: dict[str, Any], said: str) -> None:
    check = Int8Spec.model_validate({"check": "int8_spec"} | settings)
    (result,) = check.judge(measurement.read("m", models["int8"]), None)
    assert (result.status, result.value) == (("fail", 1) if said else ("pass", 0))
    assert result.why.startswith(said)


def test_findings_survive_the_report(models: Models) -> None:
    known = facts(rules=found(models["lstm_faulty"]))
    assert ModelFacts.model_validate_json(known.model_dump_json()) == known
