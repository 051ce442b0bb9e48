"""Keep the shared weight values of a clustered model shared during training."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import tf_keras


def tied(kernels: Sequence[Any]) -> "tf_keras.callbacks.Callback":
    """A callback that keeps weights equal that are equal now: after each step they are set to their mean.

    So the shared values are trained, and the same weights keep sharing them, as in the fine-tuning of Han et al.
    (https://arxiv.org/abs/1510.00149). tfmot's cluster-preserving scheme does not achieve this: it gives each channel
    of a convolution its own values, and treats the few weights in a channel of an unclustered kernel as clusters too.
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
    """Largest number of different weights in an output channel of a kernel (..., channels)."""
    return max(np.unique(channel).size for channel in np.moveaxis(np.asarray(kernel), -1, 0))
