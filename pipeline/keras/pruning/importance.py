"""Criteria for the importance of a channel, by which structured pruning ranks channels.

Scores are float64 (channels,), indexed by channel number (see `pipeline.keras.pruning.channels`); higher is more
important. A score is summed over all layers that make or read the channel, and is nan if the criterion does not apply.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.keras.pruning.channels import Wiring

if TYPE_CHECKING:
    import tensorflow as tf

Criterion = Literal["l1", "l2", "bn_scale", "taylor"]
Scores = NDArray[np.float64]


def norms(wired: Wiring, order: int) -> Scores:
    """L1 or L2 norm (order 1 or 2) of the filters that make a channel (Li et al., https://arxiv.org/abs/1608.08710).

    Layers differ in the magnitude of their weights, so each group's norms are divided by their root mean square.
    """
    scores = np.zeros(wired.count)
    for layer in wired.model.layers:
        for variable, axes in wired.slices(layer):
            if -2 in axes and len(axes) == 2:  # a kernel with an axis of inputs and one of outputs
                axis = next(axis for axis, ids in axes.items() if ids is wired.gives[layer.name])
                np.add.at(scores, axes[axis], _norm(variable.numpy(), axis, order))
    for group in wired.groups:
        size = np.sqrt(np.mean(scores[group.channels] ** 2))
        scores[group.channels] /= size or 1.0
    return scores


def _norm(values: NDArray[Any], axis: int, order: int) -> Scores:
    rows = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1).astype(np.float64)
    return np.asarray(np.linalg.norm(rows, ord=order, axis=1))


def scales(wired: Wiring) -> Scores:
    """Mean absolute factor gamma with which batch normalisation scales a channel.

    As in network slimming, Liu et al., https://arxiv.org/abs/1708.06519, but there gamma is trained with an L1 penalty.
    """
    total, count = np.zeros(wired.count), np.zeros(wired.count)
    for layer in wired.model.layers:
        gamma = getattr(layer, "gamma", None)
        for _, axes in ((v, axes) for v, axes in wired.slices(layer) if v is gamma):
            np.add.at(total, axes[-1], np.abs(gamma.numpy()))  # type: ignore[union-attr]
            np.add.at(count, axes[-1], 1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def taylor(wired: Wiring, loss: Callable[[Any, Any], Any], batches: Iterable["tuple[tf.Tensor, ...]"]) -> Scores:
    """Mean over batches of the squared first-order change of the loss when a channel is removed.

    Molchanov et al., https://arxiv.org/abs/1906.10771, with a gate on the channel: removing the channel removes its
    weights from all layers that read it, so the change is the sum of weight times gradient over these weights.
    """
    import tensorflow as tf

    read = [
        (variable, axis, ids)
        for layer in wired.model.layers
        for variable, axes in wired.slices(layer)
        for axis, ids in axes.items()
        if len(axes) == 2 and ids is not wired.gives[layer.name]
    ]
    total, count = np.zeros(wired.count), 0
    for x, truth, *_ in batches:
        with tf.GradientTape() as tape:
            value = loss(truth, wired.model(x, training=False))
        gradients = tape.gradient(value, [variable for variable, _, _ in read])
        change = np.zeros(wired.count)
        for (variable, axis, ids), gradient in zip(read, gradients, strict=True):
            product = np.moveaxis(variable.numpy() * gradient.numpy(), axis, 0)
            np.add.at(change, ids, product.reshape(len(ids), -1).sum(axis=1, dtype=np.float64))
        total, count = total + change**2, count + 1
    return total / max(count, 1)
