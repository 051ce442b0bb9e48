"""Import and configure TensorFlow (Keras 2, seeds, determinism), and save, load and run Keras models.

tfmot works only with Keras 2 (tf_keras), which TensorFlow uses only if TF_USE_LEGACY_KERAS is set before its first
import. So no module imports TensorFlow at its top: functions import it, after `start` was called.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core import progress
from pipeline.core.errors import Fault, StageError
from pipeline.core.telling import telling
from pipeline.keras.surgery.rsqrt import rsqrt

if TYPE_CHECKING:
    import tf_keras

    from pipeline.data.source import Examples


@cache
def load() -> None:
    """Import TensorFlow, tf_keras and tfmot, which takes seconds the first time.

    Raises StageError if TensorFlow was imported before with Keras 3.
    """
    if os.environ.get("TF_USE_LEGACY_KERAS") != "1":
        if "tensorflow" in sys.modules:
            raise StageError(Fault("TensorFlow was imported before edgepipe could choose Keras 2"))
        os.environ["TF_USE_LEGACY_KERAS"] = "1"
    # Allocate GPU memory as needed. tf.config has a setting for it, but it would open the GPU in the fork server.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    import tensorflow  # noqa: F401
    import tensorflow_model_optimization  # noqa: F401
    import tf_keras  # noqa: F401
    from tensorflow.python.autograph.core import config, config_lib

    # AutoGraph converts Python's `if` and `for` into graph ops. tfmot and this package call graph ops directly and need
    # no conversion, which would take seconds in each stage. TensorFlow has the same rule for Keras.
    config.CONVERSION_RULES += tuple(map(config_lib.DoNotConvert, ("tensorflow_model_optimization", "pipeline")))


def start(seed: int) -> None:
    """Load TensorFlow, and make everything that follows in this process a function of the seed.

    Layers that draw random numbers get their own tf.random.Generator, whose state can be set. The state inside
    TensorFlow's stateful random ops can't be saved, so a resumed training would differ.
    """
    load()
    import tensorflow as tf
    import tf_keras

    tf_keras.backend.clear_session()  # reset the numbers in layer names, which are part of the file's bytes
    tf_keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    tf_keras.backend.experimental.enable_tf_random_generator()


def save_model(model: "tf_keras.Model", path: Path) -> None:
    """Save a Keras model without its optimizer as .h5, the only format with the same bytes at every save."""
    progress.step("saving the network")
    model.save(path, save_format="h5", include_optimizer=False)


def load_model(path: Path) -> "tf_keras.Model":
    """Load a model that `save_model` wrote, including tfmot's wrappers, this package's layers and ConvNeXt's."""
    import tensorflow_model_optimization as tfmot
    import tf_keras

    from pipeline.keras.rounding import few_bits, recurrent

    progress.step("loading the network")
    own = {kind.__name__: kind for kind in (rsqrt(), few_bits(), recurrent())}
    with known_layers(), tfmot.quantization.keras.quantize_scope(own):
        return tf_keras.models.load_model(path, compile=False)


def known_layers() -> "contextlib.AbstractContextManager[None]":
    """A context in which models load that hold the layers of tf_keras.applications, which Keras registers nowhere."""
    import tf_keras
    from tf_keras.src.applications.convnext import LayerScale, StochasticDepth

    own = {kind.__name__: kind for kind in (LayerScale, StochasticDepth)}
    scope: contextlib.AbstractContextManager[None] = tf_keras.utils.custom_object_scope(own)
    return scope


def count_weights(config: Any) -> int | None:
    """Return how many weights a model has, from its config and without making them; None if that can't be told.

    In a graph Keras only declares the weights. The seeds that it draws for their initial values are given back, so
    that what follows in this process does not change.
    """
    import tensorflow as tf
    import tf_keras
    from tf_keras.src.backend import _SEED_GENERATOR

    generator = getattr(_SEED_GENERATOR, "generator", None)
    state = generator.getstate() if generator else None
    try:
        make = tf_keras.saving.deserialize_keras_object if "module" in config else tf_keras.models.model_from_config
        with tf.Graph().as_default():
            return int(make(config).count_params())
    except Exception:  # a damaged config fails in many ways, and loading it tells how
        return None
    finally:
        if generator and state:
            generator.setstate(state)


def copy_model(model: "tf_keras.Model") -> "tf_keras.Model":
    """A copy of the model with equal but separate weights."""
    import tf_keras

    copied = tf_keras.models.clone_model(model)
    copied.set_weights(model.get_weights())
    return copied


def in_precision(model: "tf_keras.Model", precision: str) -> "tf_keras.Model":
    """The model itself if its layers compute in `precision` already, or else a copy that does, with equal weights.

    precision: float32, or a policy with float32 variables: mixed_bfloat16, mixed_float16. The last layer always
    computes in float32, because softmax scores in half precision are too coarse for a loss. Raises StageError if the
    network can't be built in that precision.
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
            config["dtype"] = "float32"  # in half precision tfmot's masks would round the weights at each step
        return type(layer).from_config(config)

    try:
        copied = tf_keras.models.clone_model(model, clone_function=copy)
    except Exception as error:  # ops with inputs of mixed types raise exceptions of many types
        raise StageError(Fault(f"the network can't be built in {precision}", received=telling(error))) from error
    copied.set_weights(model.get_weights())
    return copied


def _floating_layers(model: "tf_keras.Model", last: Any) -> Iterator["tf_keras.layers.Layer"]:
    """All layers at any depth that compute in floating point, except `last`."""
    import tf_keras

    passive = (tf_keras.Model, tf_keras.layers.InputLayer)
    layers = (layer for layer in model._flatten_layers() if layer is not last and not isinstance(layer, passive))
    return (layer for layer in layers if _floating(layer.dtype_policy.name))


def _retyped(config: Any, precision: str) -> Any:
    """A layer's config, including those of layers that it wraps, with another precision."""
    if isinstance(config, dict):
        return {
            key: precision if key == "dtype" and _floating(value) else _retyped(value, precision)
            for key, value in config.items()
        }
    return [_retyped(item, precision) for item in config] if isinstance(config, list) else config


def _floating(dtype: Any) -> bool:
    """Whether a config's dtype is a floating-point type or a dtype policy."""
    return isinstance(dtype, dict) or "float" in str(dtype)


def predict(model: "tf_keras.Model", examples: "Examples", batch_size: int = 256) -> NDArray[np.float32]:
    """The model's outputs (N, ...) for all examples, in their order."""
    positions = np.arange(len(examples))
    parts = []
    for i in range(0, len(positions), batch_size):
        progress.step("example in Keras", i, len(positions))
        parts.append(np.asarray(model(examples.batch(positions[i : i + batch_size])[0], training=False), np.float32))
    return np.concatenate(parts)


def gives_logits(model: "tf_keras.Model") -> bool:
    """Whether the model's outputs are logits: its last layer ends in no softmax or, with one output, no sigmoid."""
    import tf_keras

    last: Any = model.layers[-1]
    last = getattr(last, "layer", last)  # unwrap tfmot's wrappers
    if isinstance(last, tf_keras.layers.Softmax):
        return False
    activation = getattr(last, "activation", None)
    activation = getattr(activation, "activation", activation)  # and tfmot's wrapper around an activation
    if model.output_shape[-1] == 1:
        return activation is not tf_keras.activations.sigmoid
    return activation is not tf_keras.activations.softmax
