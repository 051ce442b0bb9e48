"""The layers that every part of TensorFlow takes: training on any machine, and conversion to each quantization."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pipeline.keras.surgery.flat import flat

if TYPE_CHECKING:
    import tf_keras

_LAYERS = frozenset({
    "InputLayer", "Dense", "Conv1D", "Conv2D", "Conv2DTranspose", "DepthwiseConv2D", "SeparableConv2D",
    "BatchNormalization", "ReLU", "Activation", "Softmax", "MaxPooling1D", "MaxPooling2D", "AveragePooling1D",
    "AveragePooling2D", "GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalMaxPooling1D", "GlobalMaxPooling2D",
    "Flatten", "Reshape", "Permute", "Add", "Multiply", "Concatenate", "Dropout", "SpatialDropout2D", "GaussianNoise",
    "ZeroPadding2D", "Cropping2D", "Rescaling", "Normalization", "RandomFlip", "RandomRotation", "RandomZoom",
    "RandomTranslation", "RandomContrast", "UpSampling2D",
})  # fmt: skip
_FUNCTIONS = frozenset({
    "__operators__.add", "__operators__.getitem", "math.add", "math.multiply", "math.truediv", "nn.relu", "nn.relu6",
})  # fmt: skip
_ACTIVATIONS = frozenset({None, "linear", "relu", "relu6", "softmax", "sigmoid", "tanh", "swish", "silu"})


def unusual(model: "tf_keras.Model") -> "Iterator[tf_keras.layers.Layer]":
    """Yield the layers of a network, those of nested models too, that are not well known."""
    yield from (layer for layer in flat(model).layers if not _well_known(layer))


def channels_first(layer: "tf_keras.layers.Layer") -> bool:
    """Return whether a layer, or one that it wraps, computes with the channels in front."""
    return getattr(getattr(layer, "layer", layer), "data_format", "") == "channels_first"


def _well_known(layer: "tf_keras.layers.Layer") -> bool:
    kind, settings = type(layer), _settings(layer)
    if kind.__module__.partition(".")[0] != "tf_keras" or channels_first(layer):
        return False
    if kind.__name__ in ("TFOpLambda", "SlicingOpLambda"):
        return settings.get("function") in _FUNCTIONS
    activation = settings.get("activation")
    return kind.__name__ in _LAYERS and (activation is None or activation in _ACTIVATIONS)


def _settings(layer: "tf_keras.layers.Layer") -> dict[str, Any]:
    found: dict[str, Any] = layer.get_config()
    return found if isinstance(found.get("activation"), str | None) else found | {"activation": "another"}
