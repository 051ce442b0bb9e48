"""The output layers that the models share."""

from typing import TYPE_CHECKING

from pipeline.data.spec import Spec

if TYPE_CHECKING:
    import tensorflow as tf


def head(x: "tf.Tensor", spec: Spec) -> "tf.Tensor":
    """Output layers on features x (n, values): softmax scores of the labels (n, labels), or for regression (n, M)."""
    from tf_keras import layers

    (units,) = spec.outputs
    if not spec.task.decides:
        return layers.Dense(units, name="values")(x)
    return layers.Softmax(name="scores")(layers.Dense(units, name="logits")(x))
