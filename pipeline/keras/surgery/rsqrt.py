"""The one layer that Keras lacks: the reciprocal square root."""

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow
    import tf_keras


@cache
def rsqrt() -> "type[tf_keras.layers.Layer]":
    """A layer class of 1 / sqrt(x), x >= 0.

    A small x that was rounded to zero gives the largest result there is, as LiteRT's int8 kernel does
    (`RsqrtEvalQuantized` in lite/kernels/elementwise.cc): in use that is infinity, which rounding cuts to the end of
    its range; in training it is the largest of the batch, for ranges and gradients must stay finite.
    """
    import tensorflow as tf
    from tf_keras import layers

    class Rsqrt(layers.Layer):  # type: ignore[misc]
        def call(self, x: "tensorflow.Tensor", training: Any = None) -> "tensorflow.Tensor":
            if not training:
                return tf.math.rsqrt(x)
            positive = x > 0
            root = tf.math.rsqrt(tf.where(positive, x, tf.ones_like(x)))
            largest = tf.reduce_max(tf.where(positive, root, tf.zeros_like(root)))
            return tf.where(positive, root, tf.stop_gradient(largest))

    return Rsqrt
