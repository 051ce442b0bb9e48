"""The int8 specification as rules that can be tried on a .tflite file: R1 to R18, in the table below.

``findings(model)`` tries them all. They hold for the integer parts of any file: int8 and int16x8 through and through,
with float32 or uint8 at its border, or with float islands, which R1 then names. A file without int8 or int16
activations (float, dynamic-range, the uint8 files from before TensorFlow 2) is outside of the specification.
"""

from pipeline.facts import Finding
from pipeline.tflite.int8 import ranges, structure, weights
from pipeline.tflite.int8.flaw import COMPUTED, Find, Limits, Rule, each_op
from pipeline.tflite.int8.spec import SPEC, TABLE
from pipeline.tflite.model import Model

__all__ = ["RULES", "Limits", "Rule", "applies", "findings"]


def _all(*rules: Find) -> Find:
    """Several tests of one rule."""
    return lambda model, limits: (flaw for rule in rules for flaw in rule(model, limits))


OURS = "experience with real files"

RULES = (
    Rule("R1", "no op reads or writes floating point, in any subgraph", "fail", SPEC, structure.no_floats),
    Rule("R2", "an activation has one scale, positive and finite, and one zero point in the range of its type", "fail",
         SPEC, _all(ranges.parameters_valid, each_op(weights.valid_scales))),
    Rule("R3", "weights lie in -127..127, of 4 bits in -7..7", "fail", SPEC, each_op(weights.narrow_range)),
    Rule("R4", "weights have the zero point 0", "fail", SPEC, each_op(weights.symmetric)),
    Rule("R5", "scales of weights lie along the output channels", "fail", SPEC, each_op(weights.channel_axis)),
    Rule("R6", "convolutions have a scale for each channel", "info", SPEC, each_op(weights.per_channel)),
    Rule("R7", "a bias is int32 with zero point 0 and scale = input scale x weight scale", "fail", SPEC,
         each_op(weights.bias_scale)),
    Rule("R8", "softmax, logistic, tanh and normalizations have the int8 output range of the specification", "fail",
         SPEC, ranges.fixed_output("INT8")),
    Rule("R8u", "the same at a uint8 border", "fail", SPEC, ranges.fixed_output("UINT8")),
    Rule("R9", "ops that only move values have one scale and zero point for input and output, bit for bit", "fail",
         TABLE, each_op(ranges.same_parameters)),
    Rule("R10", "ops with a free output scale read and write one type", "fail", TABLE, each_op(ranges.one_type)),
    Rule("R11", "indices, shapes and comparisons are plain integers and booleans", "fail", TABLE,
         each_op(structure.plain_answers)),
    Rule("R12", "int16 activations have the zero point 0, fixed outputs 1/32768, and biases of int64", "fail", TABLE,
         _all(ranges.symmetric_int16, ranges.fixed_output("INT16"), each_op(weights.wide_bias))),
    Rule("R13", "ops without an int16 kernel read no int16", "fail", TABLE, each_op(structure.int16_kernels)),
    Rule("R14", "inputs and outputs are as promised, and shapes are static", "warn", "LiteRT for Microcontrollers",
         _all(structure.static_shapes, structure.border_types)),
    Rule("R15", "built-in ops alone; no variables, loops, inner DEQUANTIZE or QUANTIZE after QUANTIZE", "warn", OURS,
         _all(structure.foreign_ops, structure.state, structure.control_flow, structure.requantized,
              structure.inner_dequantize)),
    Rule("R16", "scales are plausible, channels alive and biases not cut off", "warn", OURS,
         _all(ranges.plausible_scale, ranges.input_range, each_op(weights.dead_channels),
              each_op(weights.saturated_bias))),
    Rule("R17", "the runtime has all op versions", "fail", "the file's op versions and min_runtime_version",
         _all(structure.op_versions, structure.runtime_version)),
    Rule("R18", "weights are as sparse and clustered as promised", "fail", OURS,
         _all(weights.sparsity, weights.clusters)),
)  # fmt: skip


def applies(model: Model) -> bool:
    """Whether any op reads or writes int8 or int16 activations."""
    used = (tensor for op in model.ops for tensor in (*op.reads, *op.outputs))
    return any(t.dtype in COMPUTED and t.quantized and not t.constant and not t.variable for t in used)


def findings(model: Model, limits: Limits | None = None) -> tuple[Finding, ...] | None:
    """What breaks a rule, in the order of the rules; empty for a file in order, None where the rules don't apply."""
    if not applies(model):
        return None
    return tuple(finding for rule in RULES for finding in rule.findings(model, limits or Limits()))
