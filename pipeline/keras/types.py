"""Types of Keras objects, for annotations in rooms that import no TensorFlow. tf_keras has no type annotations."""

from typing import Any, TypeAlias

KerasModel: TypeAlias = Any  # tf_keras.Model
KerasLayer: TypeAlias = Any  # tf_keras.layers.Layer
KerasCallback: TypeAlias = Any  # tf_keras.callbacks.Callback
