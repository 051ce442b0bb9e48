"""Unroll recurrent layers that have no integer op of their own: every step becomes ops that have integer kernels.

TensorFlow's converter keeps the loop of a GRU or SimpleRNN as a WHILE op. Its calibrator crashes on it, and TFLite
Micro does not run it. Only an LSTM has an op of its own, and that only for int8.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import Fault

if TYPE_CHECKING:
    import tf_keras


def unroll(model: "tf_keras.Model", quantization: str, most: int) -> list[str]:
    """Set recurrent layers of the model that need it to unroll, and return their names.

    most: the largest number of steps that is unrolled. Layers with more, or with an open number, stay loops.
    """
    found = [layer for layer in loops(model, quantization) if (steps_of(layer) or most + 1) <= most]
    for layer in found:
        layer.unroll = True
        layer._could_use_gpu_kernel = False  # Keras decides by this, set when the layer was made, before `unroll`
    return [layer.name for layer in found]


def refusal(layer: "tf_keras.layers.Layer", quantization: str, most: int) -> Fault:
    """The fault of a recurrent layer that would stay a loop in an integer file."""
    steps = steps_of(layer)
    rule = f"{type(layer).__name__} {layer.name} must be unrolled for {quantization}, {most} steps at most"
    if steps is None:
        return Fault(rule, received="an open number of steps", do="give the model's input its number of steps")
    other = ", or use an LSTM, which is one op" if quantization == "int8" else ""
    return Fault(rule, received=f"{steps} steps", do=f"set `unroll: {steps}`{other}")


def steps_of(layer: "tf_keras.layers.Layer") -> int | None:
    """The number of steps that a recurrent layer is given; None if the model leaves it open."""
    steps: int | None = layer.input_shape[1]
    return steps


def holds_recurrent(model: "tf_keras.Model") -> bool:
    """Whether the model has recurrent layers, in tfmot's wrappers or without."""
    from tf_keras import layers

    return any(isinstance(getattr(layer, "layer", layer), layers.RNN) for layer in model._flatten_layers())


def loops(model: "tf_keras.Model", quantization: str) -> Iterator[Any]:
    """Yield the recurrent layers of a model, at any depth, that a file of that quantization would hold as a loop."""
    from tf_keras import layers

    for layer in model._flatten_layers():
        fused = type(layer) is layers.LSTM and quantization != "int16x8" and _fusible(layer)
        if isinstance(layer, layers.RNN) and not layer.unroll and not fused:
            yield layer


def _fusible(layer: Any) -> bool:
    """Whether the converter makes one op of an LSTM: it knows Keras's default functions alone, and no mask."""
    names = (layer.activation.__name__, layer.recurrent_activation.__name__)
    plain = names == ("tanh", "sigmoid") and layer.use_bias and not layer.recurrent_dropout
    return bool(plain and getattr(layer.input, "_keras_mask", None) is None)
