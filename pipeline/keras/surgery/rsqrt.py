"""A Keras layer for the reciprocal square root, which Keras lacks."""

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow
    import tf_keras


@cache
def rsqrt() -> "type[tf_keras.layers.Layer]":
    """The layer class of 1 / sqrt(x), x >= 0.

    If a small x was rounded to zero, the result is the largest possible one, as in LiteRT's int8 kernel
    (`RsqrtEvalQuantized` in lite/kernels/elementwise.cc). At inference this is infinity, which rounding clips to the
    end of its range. In training it is the largest result in the batch, because ranges and gradients must stay finite.
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
