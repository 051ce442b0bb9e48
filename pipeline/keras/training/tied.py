"""Weights that share a value and go on sharing it while training moves it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import tf_keras


def tied(kernels: Sequence[Any]) -> "tf_keras.callbacks.Callback":
    """Keeps weights equal that are equal now: after each step all of a kernel get the mean of what became of them.

    So the shared values are trained and what shares them stays, as in the fine-tuning of Han et al.
    (https://arxiv.org/abs/1510.00149). tfmot's cluster-preserving scheme lets go of it: it gives each channel of a
    convolution values of its own, and the few weights of a channel of an unclustered one count as clusters too.
    """
    import tf_keras

    groups = [np.unique(kernel.numpy(), return_inverse=True)[1].reshape(-1) for kernel in kernels]
    sizes = [np.bincount(group) for group in groups]

    def tie(batch: int, logs: Any) -> None:
        for kernel, group, size in zip(kernels, groups, sizes, strict=True):
            means = np.bincount(group, weights=kernel.numpy().reshape(-1)) / size
            kernel.assign(means.astype(np.float32)[group].reshape(kernel.shape))

    return tf_keras.callbacks.LambdaCallback(on_train_batch_end=tie)


def most_values(kernel: Any) -> int:
    """Most different weights in an output channel of a kernel (..., channels)."""
    return max(np.unique(channel).size for channel in np.moveaxis(np.asarray(kernel), -1, 0))
