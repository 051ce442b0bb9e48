"""Put tfmot's wrappers around layers, so that training rounds every value that TFLite rounds.

tfmot decides by layer type and six patterns where to round. Here the graph decides, by the role of each layer:

kernel   its weights have a scale per channel (a dense layer has one), and its result has a range
recurrent  both kernels of its cell have a scale, and its result has a range
table    its weights have one scale, and its result, which is rows of them, has the same
range    its result has its own range
pass     its result has the range of the input, as the int8 kernel requires (rule R9): tfmot gives AveragePooling2D its
         own range, and the converter then computes wrong biases (rule R7)
fixed    the specification fixes the range of its result (rule R8)

If TFLite computes several layers in one op, such as a convolution, its normalisation and a ReLU, only the last result
is rounded.

Zeros of pruned kernels are kept, whatever layer follows. In tfmot 0.8.1 the pattern for Add + ReLU
(`LayerReLUQuantize`) also matches a Conv2D or Dense that is directly followed by a ReLU layer, and removes all of its
quantization settings: the kernel is then neither rounded nor masked in training, and loses its zeros. A kernel with
normalisation before its ReLU is not affected.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.keras.rounding import few_bits, recurrent
from pipeline.keras.surgery import raw
from pipeline.keras.surgery.graph import Call, Rebuild
from pipeline.keras.surgery.kernels import FUSED

if TYPE_CHECKING:
    import tf_keras

KERNELS = {
    "Conv2D": "kernel", "DepthwiseConv2D": "depthwise_kernel", "Conv2DTranspose": "kernel", "Dense": "kernel",
}  # fmt: skip
TABLES = {"Embedding": "embeddings"}
RECURRENT = {"LSTM", "GRU", "SimpleRNN"}
RANGED = {
    "ReLU", "LeakyReLU", "PReLU", "ELU", "ThresholdedReLU", "Add", "Subtract", "Multiply", "Maximum", "Minimum",
    "Concatenate", "Rescaling", "Rsqrt", "GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalAveragePooling3D",
    "BatchNormalization",
}  # fmt: skip
PASSING = {
    "MaxPooling2D", "AveragePooling2D", "GlobalMaxPooling1D", "GlobalMaxPooling2D", "UpSampling2D", "Flatten",
    "Reshape", "Permute", "ZeroPadding1D", "ZeroPadding2D", "Cropping1D", "Cropping2D", "RepeatVector", "Dropout",
    "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "GaussianNoise", "GaussianDropout",
    "ActivityRegularization",
}  # fmt: skip
FIXED = {"Softmax"}
ACTIVATIONS = {"linear": "pass", "sigmoid": "fixed", "tanh": "fixed", "softmax": "fixed"}
_BEFORE_RELU = {"Conv2D", "DepthwiseConv2D", "Dense", "BatchNormalization", "Add", "Subtract", "Multiply", "Rescaling"}
FEW_BITS = {"Conv2D", "Dense"}  # layers that can have 4-bit weights on LiteRT and on TFLite Micro


class Quantized(Rebuild):
    """The network with tfmot's wrappers, which round weights and results to 8 bits in training.

    preserve     whether zeros in kernels stay zeros
    bits         old layer -> bits of its weights, for layers with fewer than 8
    per_channel  whether a convolution's weights have one scale per channel, or one per layer
    left         name of an old layer that is left to calibration -> the reason
    """

    def __init__(self, preserve: bool, bits: Mapping[str, int] | None = None, per_channel: bool = True) -> None:
        super().__init__()
        self.preserve, self.bits, self.per_channel = preserve, bits or {}, per_channel
        self.left: dict[str, str] = {}
        self._ranged: dict[str, dict[str, Any]] = {}  # old layer -> the variables with the range of its result

    def read(self, x: "tf_keras.KerasTensor") -> "tf_keras.KerasTensor":
        from tensorflow_model_optimization.python.core.quantization.keras import quantize_layer
        from tensorflow_model_optimization.quantization.keras import quantizers

        rounding = quantizers.AllValuesQuantizer(num_bits=8, per_axis=False, symmetric=False, narrow_range=False)
        if x.dtype.is_integer:  # ids
            return x
        name = x._keras_history.layer.name
        layer = quantize_layer.QuantizeLayer(rounding, name=f"quant_{name}")
        y = layer(x)
        self._ranged[name] = layer.quantizer_vars
        return y

    def visit(self, call: Call) -> Any:
        kind = role(call.layer)
        if kind == "range" and type(call.layer).__name__ == "BatchNormalization" and not _folds(call):
            kind = ""
        if kind == "pass" and _joined(call.layer):
            kind = "range"
        if kind == "table" and (reader := _calibrated(call.layer)):
            kind, self.left[call.layer.name] = "", f"it has the scale of what {reader} reads, which is calibrated"
        elif not kind:
            self.left[call.layer.name] = f"there is no training with 8-bit rounding for {_kind(call.layer)}"
        if kind not in ("kernel", "recurrent", "table", "range"):
            return self.copy(call)
        if raw.symbol(call.layer):
            return self._rounded(call, self.copy(call))
        ranged = kind != "table" and not _fused(call)
        y = self.put(call, lambda name: self._wrapped(call, ranged), *call.args, **call.kwargs)
        if ranged:
            self._ranged[call.layer.name] = y._keras_history.layer._output_quantizer_vars
        return y

    def _rounded(self, call: Call, y: Any) -> Any:
        """The result of a raw op, rounded by a separate layer, because there is no wrapper for raw ops."""
        from tensorflow_model_optimization.python.core.quantization.keras import quantize_layer
        from tensorflow_model_optimization.quantization.keras import quantizers

        rounding = quantizers.MovingAverageQuantizer(num_bits=8, per_axis=False, symmetric=False, narrow_range=False)
        y = self.put(call, lambda name: quantize_layer.QuantizeLayer(rounding, name=name), y, suffix="_rounded")
        self._ranged[call.layer.name] = y._keras_history.layer.quantizer_vars
        return y

    def set_ranges(self, ranges: Mapping[str, tuple[float, float]]) -> None:
        """Set the initial ranges: old layer -> (low, high). tfmot's own, -6 to 6, adapt slowly."""
        for name, variables in self._ranged.items():
            low, high = ranges[name]
            variables["min_var"].assign(min(low, 0.0))
            variables["max_var"].assign(max(high, 0.0))

    @property
    def ranged(self) -> tuple[str, ...]:
        """Names of the old layers whose result has its own range."""
        return tuple(self._ranged)

    def _wrapped(self, call: Call, ranged: bool) -> "tf_keras.layers.Layer":
        """A wrapped copy of the layer. It is built first, because the wrapper records the positions of zeros."""
        import tensorflow as tf
        from tensorflow_model_optimization.python.core.quantization.keras.quantize_wrapper import QuantizeWrapperV2

        old = call.layer
        layer = type(old).from_config(old.get_config())
        if old.weights:
            with tf.name_scope(layer.name):
                layer.build(call.x.shape)
            layer.set_weights(old.get_weights())
        return QuantizeWrapperV2(layer, self._config(old, ranged))

    def _config(self, layer: "tf_keras.layers.Layer", ranged: bool) -> Any:
        """tfmot's QuantizeConfig of a layer: which weights are rounded, and whether the result is (`ranged`)."""
        from tensorflow_model_optimization.python.core.quantization.keras.collab_opts.prune_preserve import (
            prune_preserve_quantize_registry as preserving,
        )
        from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
            default_8bit_quantize_configs as configs,
        )
        from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
            default_8bit_quantize_registry as registry,
        )

        kind = type(layer).__name__
        if kind in RECURRENT:
            config = recurrent()(["kernel", "recurrent_kernel"], [], ranged)
            if self.preserve:
                config.keep_zeros()
            return config
        if kind not in KERNELS | TABLES:
            return configs.Default8BitOutputQuantizeConfig() if ranged else configs.NoOpQuantizeConfig()
        weights = [(KERNELS | TABLES)[kind]]
        if kind == "Conv2DTranspose":
            config = registry.Default8BitConvTransposeQuantizeConfig(weights, [], ranged)
            if self.preserve:  # tfmot lacks one for this layer; with one scale the order of the axes is irrelevant
                config.weight_quantizer = preserving.PrunePreserveDefault8BitWeightsQuantizer()
            return config
        make, keep = {
            True: (registry.Default8BitConvQuantizeConfig, preserving.PrunePreserveDefault8BitConvWeightsQuantizer),
            False: (registry.Default8BitQuantizeConfig, preserving.PrunePreserveDefault8BitWeightsQuantizer),
        }[per_axis := self.per_channel and kind not in ("Dense", *TABLES)]
        bits = self.bits.get(layer.name, 8)
        config = make(weights, [], ranged) if bits == 8 else few_bits()(weights, [], ranged, bits, per_axis)
        if self.preserve:
            config.weight_quantizer = keep()
            config.weight_quantizer.num_bits = bits
        return config


def role(layer: "tf_keras.layers.Layer") -> str:
    """Role of a layer: kernel, recurrent, table, range, pass or fixed; "" for a layer that is left to calibration."""
    kind = type(layer).__name__
    if not type(layer).__module__.startswith(("tf_keras.", "pipeline.")):
        return ""
    if kind == "Activation":
        name = getattr(layer.activation, "__name__", "")
        return ACTIVATIONS.get(name) or ("range" if _pointwise(layer.activation) else "")
    if symbol := raw.symbol(layer):
        return "range" if symbol in raw.RANGED else "pass" if symbol in raw.PASSING else ""
    if kind in RECURRENT:
        return "" if layer.return_state else "recurrent"
    if kind in KERNELS and getattr(layer.activation, "__name__", "") not in FUSED:
        return ""
    roles = {"kernel": KERNELS, "table": TABLES, "range": RANGED, "pass": PASSING, "fixed": FIXED}
    return next((name for name, kinds in roles.items() if kind in kinds), "")


@cache
def _pointwise(function: Callable[[Any], Any]) -> bool:
    """Whether a function computes each result from one value, whatever stands beside it.

    The int8 file then computes it by one op or one table (`pipeline.tflite.pointwise`).
    """
    import tensorflow as tf

    x = np.linspace(-6.0, 6.0, 64, dtype=np.float32)
    row, column = (np.asarray(function(tf.constant(x.reshape(shape)))) for shape in ((1, -1), (-1, 1)))
    return row.shape == (1, 64) and np.allclose(row.reshape(-1), column.reshape(-1), equal_nan=True)


def _folds(call: Call) -> bool:
    """Whether a normalisation layer can be folded into the convolution before it."""
    before = call.x._keras_history.layer
    return call.alone and type(getattr(before, "layer", None)).__name__ in ("Conv2D", "DepthwiseConv2D")


def _calibrated(layer: "tf_keras.layers.Layer") -> str:
    """Name of a layer that is left to calibration and reads a table's rows; "" if there is none."""
    for node in layer.outbound_nodes:
        reader = node.outbound_layer
        if role(reader) == "pass" and (name := _calibrated(reader)):
            return name
        if not role(reader):
            return str(reader.name)
    return ""


def _joined(layer: "tf_keras.layers.Layer") -> bool:
    """Whether a layer with role `pass` gets a range, and the layer before it none.

    The inputs of a concatenation must have its range. Through a `pass` layer, the layer before it and all other readers
    would get this range too.
    """
    if role(layer) != "pass" or len(layer.inbound_nodes) != 1:
        return False
    before = layer.inbound_nodes[0].inbound_layers
    alone = role(before) in ("kernel", "range") and len(before.inbound_nodes) == len(before.outbound_nodes) == 1
    readers = [node.outbound_layer for node in layer.outbound_nodes]
    return alone and len(readers) > 1 and any(type(reader).__name__ == "Concatenate" for reader in readers)


def _fused(call: Call) -> bool:
    """Whether a result is not rounded, because the layer that reads it is in the same op, or rounds it itself."""
    reader, kind = call.reader, type(call.layer).__name__
    if reader is None:
        return False
    if type(reader).__name__ == "BatchNormalization":
        return kind in ("Conv2D", "DepthwiseConv2D")
    if _ends_in_concatenation(reader):
        return kind not in ("Maximum", "Minimum")  # otherwise their inputs would get the range
    return _joined(reader) or (kind in _BEFORE_RELU and _is_relu(reader))


def _ends_in_concatenation(layer: "tf_keras.layers.Layer") -> bool:
    """Whether a layer is a concatenation, or passes its input on to one and to nothing else."""
    if type(layer).__name__ == "Concatenate":
        return True
    alone = role(layer) == "pass" and len(layer.inbound_nodes) == len(layer.outbound_nodes) == 1
    return alone and _ends_in_concatenation(layer.outbound_nodes[0].outbound_layer)


def _is_relu(layer: "tf_keras.layers.Layer") -> bool:
    if type(layer).__name__ == "Activation":
        return getattr(layer.activation, "__name__", "") in ("relu", "relu6")
    return type(layer).__name__ == "ReLU" and not float(layer.negative_slope) and not float(layer.threshold)


def _kind(layer: "tf_keras.layers.Layer") -> str:
    kind = type(layer).__name__
    if kind == "Activation":
        return f"the activation {getattr(layer.activation, '__name__', layer.activation)}"
    return f"the TensorFlow op {raw.symbol(layer)}" if raw.symbol(layer) else kind
