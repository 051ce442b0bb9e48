"""Rules R1 to R16 of the LiteRT 8-bit quantization specification, which ``breaches(model)`` tests on a .tflite file.

R17 and R18 need requirements of the user, which only the check `int8_spec` has. The rules apply to the integer parts
of any file: fully int8 or int16x8, with float32 or uint8 inputs and outputs, or with some float ops, which break R1.
They don't apply to a file without int8 or int16 activations (float, dynamic-range, uint8 from before TensorFlow 2).
"""

from pipeline.tflite.int8_spec import SPEC, TABLE
from pipeline.tflite.model import Model
from pipeline.verify.int8 import ranges, structure, weights
from pipeline.verify.int8.rule import COMPUTED, Find, Rule, each_op
from pipeline.verify.model_facts import Breach

__all__ = ["COUNTED_ON", "RULES", "Rule", "applies", "breaches", "unfit_input"]


def _all(*rules: Find) -> Find:
    """Combine several tests into one rule."""
    return lambda model: (breach for rule in rules for breach in rule(model))


# Rules that kernels rely on: a file that breaks one is refused or, when the kernel does not check, gives wrong results.
COUNTED_ON = frozenset({"R2", "R4", "R5", "R7", "R8", "R8u", "R9", "R12", "R13"})
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
    Rule("R10", "ops that compute read and write one type", "fail", TABLE, each_op(ranges.one_type)),
    Rule("R11", "indices, shapes and comparisons are plain integers and booleans", "fail", TABLE,
         each_op(structure.plain_answers)),
    Rule("R12", "int16 has the zero point 0, outputs that are fixed 1/32768, biases int64, LSTM cells a power of two",
         "fail", TABLE, _all(ranges.symmetric_int16, ranges.fixed_output("INT16"), each_op(weights.wide_bias),
                             each_op(ranges.cell_state))),
    Rule("R13", "ops without an int16 kernel read no int16", "fail", TABLE, each_op(structure.int16_kernels)),
    Rule("R14", "shapes are static", "warn", "LiteRT for Microcontrollers", structure.static_shapes),
    Rule("R15", "built-in ops alone; no variables, loops, inner DEQUANTIZE or QUANTIZE after QUANTIZE", "warn", OURS,
         _all(structure.foreign_ops, structure.state, structure.control_flow, structure.requantized,
              structure.inner_dequantize)),
    Rule("R16", "scales are plausible, channels alive and biases not cut off", "warn", OURS,
         _all(ranges.plausible_scale, each_op(weights.dead_channels), each_op(weights.saturated_bias))),
)  # fmt: skip


def applies(model: Model) -> bool:
    """Whether any op reads or writes int8 or int16 activations."""
    used = (tensor for op in model.ops for tensor in (*op.reads, *op.outputs))
    return any(t.dtype in COMPUTED and t.quantized and not t.constant and not t.variable for t in used)


def breaches(model: Model) -> tuple[Breach, ...] | None:
    """All breaches of the rules, in the order of the rules. Empty for a correct file, None when no rule applies."""
    if not applies(model):
        return None
    return tuple(breach for rule in RULES for breach in rule.breaches(model))


def unfit_input(model: Model, low: float, high: float) -> tuple[Breach, ...]:
    """R16, with data: breaches for quantized inputs whose range does not fit input values between low and high."""
    (rule,) = (rule for rule in RULES if rule.id == "R16")
    return tuple(rule._replace(find=lambda given: ranges.input_range(given, low, high)).breaches(model))
