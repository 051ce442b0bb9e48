"""Types of Keras objects, for annotations in rooms that import no TensorFlow. tf_keras carries no types of its own."""

from typing import Any, TypeAlias

KerasModel: TypeAlias = Any  # tf_keras.Model
KerasLayer: TypeAlias = Any  # tf_keras.layers.Layer
KerasCallback: TypeAlias = Any  # tf_keras.callbacks.Callback
