"""The int8 quantization specification of each op, as tables.

Sources, both of google-ai-edge/LiteRT (read at commit 8b87307 of 2026-08):

* SPEC   https://ai.google.dev/edge/litert/models/quantization_spec
* TABLE  tflite/converter/tools/optimize/operator_property.cc, which covers more ops, and int16

Numbers in the tables are positions in an op's list of inputs. Only data inputs are listed: no axes, shapes, paddings,
conditions or indices.
"""

from dataclasses import dataclass

SPEC = "LiteRT 8-bit quantization specification"
TABLE = "LiteRT operator_property.cc"

Slots = tuple[int, ...]
EVERY: Slots = ()  # stands for all inputs


@dataclass(frozen=True)
class Product:
    """A product of an input with weights, to which a bias is added.

    data, weights, bias  input positions
    axis                 dimension of the weights along which scales may be per channel; None for per-tensor scales only
    """

    data: int
    weights: int
    bias: int
    axis: int | None


# FULLY_CONNECTED is per tensor in the text of tensorflow/tensorflow and per axis in that of LiteRT; both are in use.
# The LSTM's gates are input, forget, cell and output; the scales of their biases are in TABLE's derived_scale.
_LSTM = tuple(Product(data=0, weights=gate, bias=11 + gate, axis=None) for gate in (1, 2, 3, 4))

PRODUCTS: dict[str, tuple[Product, ...]] = {
    "CONV_2D": (Product(data=0, weights=1, bias=2, axis=0),),
    "DEPTHWISE_CONV_2D": (Product(data=0, weights=1, bias=2, axis=3),),
    "FULLY_CONNECTED": (Product(data=0, weights=1, bias=2, axis=0),),
    "TRANSPOSE_CONV": (Product(data=2, weights=1, bias=3, axis=0),),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _LSTM,
}
CELL: dict[str, Slots] = {"UNIDIRECTIONAL_SEQUENCE_LSTM": (19,)}  # position of the cell state
CELL_SCALES = frozenset(2.0**power for power in range(-15, -8))
LAYER_NORM = 20  # position of an LSTM's first layer normalization coefficients; if present, they set the bias scales

# Ops that move values without arithmetic: inputs and outputs must have the same scale and zero point
# (restrict_same_input_output_scale in TABLE).
SAME: dict[str, Slots] = {
    "AVERAGE_POOL_2D": (0,),
    "BATCH_TO_SPACE_ND": (0,),
    "BROADCAST_TO": (0,),
    "CONCATENATION": EVERY,
    "DEPTH_TO_SPACE": (0,),
    "EXPAND_DIMS": (0,),
    "FILL": (1,),
    "GATHER": (0,),
    "GATHER_ND": (0,),
    "MAXIMUM": EVERY,
    "MAX_POOL_2D": (0,),
    "MINIMUM": EVERY,
    "MIRROR_PAD": (0,),
    "PACK": EVERY,
    "PAD": (0,),
    "PADV2": (0, 2),  # the kernel (lite/kernels/pad.cc) requires this of the padding value too
    "REDUCE_MAX": (0,),
    "REDUCE_MIN": (0,),
    "RESHAPE": (0,),
    "RESIZE_BILINEAR": (0,),
    "RESIZE_NEAREST_NEIGHBOR": (0,),
    "REVERSE_V2": (0,),
    "SCATTER_ND": (1,),
    "SELECT": (1, 2),
    "SELECT_V2": (1, 2),  # copies bytes as SELECT does (lite/kernels/select.cc)
    "SLICE": (0,),
    "SPACE_TO_BATCH_ND": (0,),
    "SPACE_TO_DEPTH": (0,),
    "SPLIT": (1,),
    "SPLIT_V": (0,),
    "SQUEEZE": (0,),
    "STRIDED_SLICE": (0,),
    "TILE": (0,),
    "TOPK_V2": (0,),  # copies bytes (lite/kernels/topk_v2.cc); its second output, the indices, is not quantized
    "TRANSPOSE": (0,),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (18,),  # the activation state equals the last output (restrict_scale in TABLE)
    "UNPACK": (0,),
}
SAME_INT16: dict[str, Slots] = {"SUM": (0,)}  # 8-bit sums may rescale

# Ops whose output may have any scale and zero point.
FREE: dict[str, Slots] = {
    "ABS": (0,),
    "ADD": (0, 1),
    "BATCH_MATMUL": (0, 1),
    "EXP": (0,),
    "GELU": (0,),
    "HARD_SWISH": (0,),
    "LEAKY_RELU": (0,),
    "LOG": (0,),
    "MEAN": (0,),
    "MUL": (0, 1),
    "PRELU": (0, 1),
    "REDUCE_PROD": (0,),
    "RELU": (0,),
    "RELU6": (0,),
    "RELU_N1_TO_1": (0,),
    "RSQRT": (0,),
    "SQRT": (0,),
    "SQUARED_DIFFERENCE": (0, 1),
    "SUB": (0, 1),
    "SUM": (0,),
}

# Ops with a fixed output scale and zero point, by output type (restricted_value_int8 and _int16 in TABLE).
# UINT8 has the scale of INT8 and a zero point that is higher by 128.
FIXED: dict[str, dict[str, tuple[float, int]]] = {
    "L2_NORMALIZATION": {"INT8": (1 / 128, 0), "UINT8": (1 / 128, 128)},
    "LOGISTIC": {"INT8": (1 / 256, -128), "UINT8": (1 / 256, 0), "INT16": (1 / 32768, 0)},
    "LOG_SOFTMAX": {"INT8": (16 / 256, 127), "UINT8": (16 / 256, 255)},
    "SOFTMAX": {"INT8": (1 / 256, -128), "UINT8": (1 / 256, 0), "INT16": (1 / 32768, 0)},
    "TANH": {"INT8": (1 / 128, 0), "UINT8": (1 / 128, 128), "INT16": (1 / 32768, 0)},
}

# Inputs that must have the output's type, other than those of rule R9. SOFTMAX is exempt: it has kernels from int8 to
# int16.
ONE_TYPE: dict[str, Slots] = {
    **FREE,
    **{name: (products[0].data,) for name, products in PRODUCTS.items()},
    **{name: (0,) for name in FIXED if name != "SOFTMAX"},
}

# Ops that convert between the caller's type and the graph's type, or between two scales.
BORDER = ("QUANTIZE", "DEQUANTIZE")

# Ops with quantized inputs whose outputs are not quantized (indices, shapes, comparisons), with their output types.
ANSWERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("ARG_MAX", "ARG_MIN", "SHAPE"), ("INT32", "INT64")),
    **dict.fromkeys(("EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL"), ("BOOL",)),
}

# quantizable_int16 = false in TABLE: converter and kernels refuse these with int16 activations. Two more are here that
# the converter allows but LiteRT 2.3.0 runs wrongly: SQUARED_DIFFERENCE aborts the inference, and SUM saturates at the
# range of its input, or returns 0 with the reference kernels.
NOT_INT16 = frozenset(
    {
        "ARG_MAX", "DEPTH_TO_SPACE", "EQUAL", "GREATER", "GREATER_EQUAL", "HARD_SWISH", "L2_NORMALIZATION", "LESS",
        "LESS_EQUAL", "LOG_SOFTMAX", "LSTM", "NOT_EQUAL", "PRELU", "RELU_N1_TO_1", "SPACE_TO_DEPTH",
        "SQUARED_DIFFERENCE", "SUM", "SVDF", "UNIDIRECTIONAL_SEQUENCE_LSTM",
    }
)  # fmt: skip

STATE = frozenset({"ASSIGN_VARIABLE", "CALL_ONCE", "READ_VARIABLE", "VAR_HANDLE"})
CONTROL = frozenset({"CALL", "IF", "WHILE"})

# Input positions of the quantized activations, for every op in the specification.
ACTIVATIONS: dict[str, Slots] = {
    **dict.fromkeys((*BORDER, *FIXED), (0,)),
    **{name: tuple(product.data for product in products[:1]) for name, products in PRODUCTS.items()},
    **FREE,
    **SAME,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (0, 18, 19),  # input, state, cell state
}
