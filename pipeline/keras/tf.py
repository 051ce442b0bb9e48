"""The one door to TensorFlow: legacy Keras, seeds, determinism.

tfmot works with Keras 2 alone (tf_keras), which TensorFlow takes only when TF_USE_LEGACY_KERAS is set before its first
import. So no other module imports TensorFlow at its top, and each calls `start` before it does so inside a function.
"""

import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import Fault, StageError
from pipeline.keras.surgery.rsqrt import rsqrt

if TYPE_CHECKING:
    import tf_keras

    from pipeline.data.source import Examples


@cache
def load() -> None:
    """Import TensorFlow, tf_keras and tfmot. Takes seconds the first time."""
    if os.environ.get("TF_USE_LEGACY_KERAS") != "1":
        if "tensorflow" in sys.modules:
            raise StageError(Fault("TensorFlow was imported before edgepipe could choose Keras 2"))
        os.environ["TF_USE_LEGACY_KERAS"] = "1"
    # Take a GPU's memory as it is needed. Said here and not by tf.config, which would open the GPU in the fork server.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    import tensorflow  # noqa: F401
    import tensorflow_model_optimization  # noqa: F401
    import tf_keras  # noqa: F401
    from tensorflow.python.autograph.core import config, config_lib

    # AutoGraph rewrites Python's `if` and `for` into graph ops. tfmot and we call those ops ourselves, as Keras does,
    # for which the same rule stands there already; without it each stage spends seconds on rewriting tfmot's source.
    config.CONVERSION_RULES += tuple(map(config_lib.DoNotConvert, ("tensorflow_model_optimization", "pipeline")))


def start(seed: int) -> None:
    """Make all that follows in this process a function of the seed.

    Layers that draw random numbers get a tf.random.Generator each, whose state can be set; the generators inside
    TensorFlow's own random kernels can't be saved, and a resumed training would differ.
    """
    load()
    import tensorflow as tf
    import tf_keras

    tf_keras.backend.clear_session()  # layer names count from 1 again, and names are part of the file's bytes
    tf_keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    tf_keras.backend.experimental.enable_tf_random_generator()


def save_model(model: "tf_keras.Model", path: Path) -> None:
    """Save a Keras model without its optimizer as .h5, the one format whose bytes are the same at every save."""
    model.save(path, save_format="h5", include_optimizer=False)


def load_model(path: Path) -> "tf_keras.Model":
    """Load a model that `save_model` wrote; quantization wrappers, our layer and ConvNeXt's own are known."""
    import tensorflow_model_optimization as tfmot
    import tf_keras
    from tf_keras.src.applications.convnext import LayerScale, StochasticDepth

    from pipeline.keras.rounding import few_bits

    own = {kind.__name__: kind for kind in (LayerScale, StochasticDepth, rsqrt(), few_bits())}
    with tfmot.quantization.keras.quantize_scope(own):
        return tf_keras.models.load_model(path, compile=False)


def copy_model(model: "tf_keras.Model") -> "tf_keras.Model":
    """The same network with weights of its own, equal to the model's."""
    import tf_keras

    copied = tf_keras.models.clone_model(model)
    copied.set_weights(model.get_weights())
    return copied


def in_precision(model: "tf_keras.Model", precision: str) -> "tf_keras.Model":
    """The model where its layers compute in that precision already, or else a copy that does, with the same weights.

    precision: float32, or a policy that keeps float32 variables: mixed_bfloat16, mixed_float16. The last layer computes
    in float32 always: the scores of a softmax in half precision are too coarse for a loss. StageError when the network
    can't be built so.
    """
    import tf_keras

    last = model.layers[-1] if precision != "float32" else None
    if all(layer.dtype_policy.name == precision for layer in _floating_layers(model, last)):
        return model

    def copy(layer: "tf_keras.layers.Layer") -> "tf_keras.layers.Layer":
        if isinstance(layer, tf_keras.Model):
            return tf_keras.models.clone_model(layer, clone_function=copy)
        config = _retyped(layer.get_config(), "float32" if layer is last else precision)
        if isinstance(layer, tf_keras.layers.Wrapper):
            config["dtype"] = "float32"  # in a lower one tfmot's masks would round the weights themselves at each step
        return type(layer).from_config(config)

    try:
        copied = tf_keras.models.clone_model(model, clone_function=copy)
    except Exception as error:  # an operation that mixes its types raises nearly anything
        received = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise StageError(Fault(f"the network can't be built in {precision}", received=received)) from error
    copied.set_weights(model.get_weights())
    return copied


def _floating_layers(model: "tf_keras.Model", last: Any) -> Iterator["tf_keras.layers.Layer"]:
    """All layers at any depth that compute in floating point, but for `last`."""
    import tf_keras

    passive = (tf_keras.Model, tf_keras.layers.InputLayer)
    layers = (layer for layer in model._flatten_layers() if layer is not last and not isinstance(layer, passive))
    return (layer for layer in layers if _floating(layer.dtype_policy.name))


def _retyped(config: Any, precision: str) -> Any:
    """A layer's config, with those of the layers that it wraps, in another precision."""
    if isinstance(config, dict):
        return {
            key: precision if key == "dtype" and _floating(value) else _retyped(value, precision)
            for key, value in config.items()
        }
    return [_retyped(item, precision) for item in config] if isinstance(config, list) else config


def _floating(dtype: Any) -> bool:
    """Whether a config's dtype is a floating one, or a policy."""
    return isinstance(dtype, dict) or "float" in str(dtype)


def predict(model: "tf_keras.Model", examples: "Examples", batch_size: int = 256) -> NDArray[np.float32]:
    """The model's outputs (N, ...) for all examples in their order."""
    positions = np.arange(len(examples))
    parts = [
        np.asarray(model(examples.batch(positions[i : i + batch_size])[0], training=False), np.float32)
        for i in range(0, len(positions), batch_size)
    ]
    return np.concatenate(parts)


def gives_logits(model: "tf_keras.Model") -> bool:
    """Whether the last layer gives logits rather than probabilities: those of a softmax, or one of a sigmoid."""
    import tf_keras

    last: Any = model.layers[-1]
    last = getattr(last, "layer", last)  # tfmot's wrappers
    if isinstance(last, tf_keras.layers.Softmax):
        return False
    activation = getattr(last, "activation", None)
    activation = getattr(activation, "activation", activation)  # and what they put around an activation
    if model.output_shape[-1] == 1:
        return activation is not tf_keras.activations.sigmoid
    return activation is not tf_keras.activations.softmax
