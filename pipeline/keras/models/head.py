"""The end of a network: what its last features become."""

from typing import TYPE_CHECKING

from pipeline.data.spec import Spec

if TYPE_CHECKING:
    import tensorflow as tf


def head(x: "tf.Tensor", spec: Spec) -> "tf.Tensor":
    """Features (n, values) to scores of each label that sum to 1, or to the numbers of regression as they are."""
    from tf_keras import layers

    (units,) = spec.outputs
    if not spec.task.decides:
        return layers.Dense(units, name="values")(x)
    return layers.Softmax(name="scores")(layers.Dense(units, name="logits")(x))
