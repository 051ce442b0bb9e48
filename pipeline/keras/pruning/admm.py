"""Pruning by the alternating direction method of multipliers (ADMM).

Zhang et al., https://arxiv.org/abs/1804.03294. The weights W are pulled towards Z, the nearest weights with the
requested zeros: rho / 2 * |W - Z + U|^2 is added to the loss, and after each epoch Z becomes W + U with its smallest
values set to zero, and U becomes U + W - Z. At the end of this phase the smallest weights are set to zero for good, and
the others are trained further.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import tensorflow as tf
    import tf_keras


def project(values: NDArray[np.float32], sparsity: float) -> NDArray[np.float32]:
    """The nearest values with that share of zeros: the smallest are set to zero; among equals, the last."""
    count = values.size - max(1, round(values.size * (1 - sparsity)))
    order = np.argsort(-np.abs(values), axis=None, kind="stable")
    projected: NDArray[np.float32] = values.copy().ravel()
    projected[order[values.size - count :]] = 0
    return projected.reshape(values.shape)


def callback(
    model: "tf_keras.Model", kernels: Sequence[tuple[Any, float]], rho: float, epochs: int
) -> "tf_keras.callbacks.Callback":
    """A callback that updates Z and U for `epochs` epochs and then keeps the zeros; adds the penalty to the loss.

    kernels: each variable to prune with its sparsity. Z and U become variables of the model, so that checkpoints
    contain them.
    """
    import tensorflow as tf
    import tf_keras

    weights = [kernel for kernel, _ in kernels]
    targets = [tf.Variable(project(kernel.numpy(), s), trainable=False) for kernel, s in kernels]
    duals = [tf.Variable(tf.zeros_like(kernel), trainable=False) for kernel in weights]
    strength = tf.Variable(rho, trainable=False, dtype=tf.float32)
    model.admm = [*targets, *duals, strength]  # Keras tracks variables in attributes of the model

    def penalty() -> "tf.Tensor":
        parts = zip(weights, targets, duals, strict=True)
        return strength * tf.add_n([tf.nn.l2_loss(w - z + u) for w, z, u in parts])  # l2_loss includes the factor 1 / 2

    model.add_loss(penalty)

    class Admm(tf_keras.callbacks.Callback):  # type: ignore[misc]
        """Must be before the checkpoint in the list of callbacks, so that the checkpoint saves its changes."""

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            for w, z, u, (_, sparsity) in zip(weights, targets, duals, kernels, strict=True):
                if epoch + 1 < epochs:
                    z.assign(project((w + u).numpy(), sparsity))
                    u.assign_add(w - z)
                elif epoch + 1 == epochs:
                    w.assign(project(w.numpy(), sparsity))
                    z.assign(w)
                    strength.assign(0.0)

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if float(strength) == 0:
                for w, z in zip(weights, targets, strict=True):
                    w.assign(tf.where(z == 0, 0.0, w))

    return Admm()
