"""Examples as a tf.data stream of batches. Order and augmentation are functions of (seed, epoch, position)."""

from functools import lru_cache
from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.core.errors import Fault, StageError
from pipeline.core.settings import Settings
from pipeline.data.source import Examples
from pipeline.data.tasks.task import Shape, Task

if TYPE_CHECKING:
    import tensorflow as tf


class Augment(Settings):
    """Random changes of training images (height, width, channels)."""

    flip: bool = False
    """Mirror images horizontally with probability 0.5."""
    shift: Annotated[int, Field(ge=0)] = 0
    """Largest random shift in each direction, in pixels; edge pixels are repeated."""

    @property
    def active(self) -> bool:
        """Whether any change is enabled."""
        return self.flip or self.shift > 0


def shuffled(
    examples: Examples,
    *,
    batch_size: int,
    task: Task,
    outputs: Shape,
    seed: int,
    epochs: range,
    augment: Augment,
    weights: NDArray[np.float32] | None,
) -> "tf.data.Dataset":
    """Batches (x, target (n, *outputs)[, weight (n,)]) of `epochs`, each in an order that (seed, epoch) determine.

    weights: weight of each label (labels,), for a task with labels; None for equal weights.
    """
    import tensorflow as tf

    def order(epoch: np.int64) -> NDArray[np.int64]:
        return np.random.default_rng([seed, int(epoch)]).permutation(len(examples))

    @lru_cache(maxsize=2)  # batches of two epochs may be in flight
    def chances(epoch: int) -> NDArray[np.float64]:
        return np.random.default_rng([seed, epoch, 1]).random((len(examples), 3))

    def load(epoch: np.int64, part: NDArray[np.int64]) -> tuple[NDArray[np.float32], ...]:
        x, y = examples.batch(part)
        x = augmented(x, augment, chances(int(epoch))[part]) if augment.active else x
        return (x, task.target(x, y, outputs), *(() if weights is None else (weights[y],)))

    def of_epoch(epoch: "tf.Tensor") -> "tf.data.Dataset":
        positions = tf.numpy_function(order, [epoch], tf.int64)
        positions.set_shape([len(examples)])
        parts = tf.data.Dataset.from_tensor_slices(positions).batch(batch_size)
        return parts.map(lambda part: (epoch, part))

    def read(epoch: "tf.Tensor", part: "tf.Tensor") -> tuple["tf.Tensor", ...]:
        kinds = (_kind(examples), tf.float32, *(() if weights is None else (tf.float32,)))
        return _shaped(examples, outputs, tf.numpy_function(load, [epoch, part], kinds))

    numbers = tf.data.Dataset.range(epochs.start, epochs.stop)
    return numbers.flat_map(of_epoch).map(read).prefetch(2)


def in_order(examples: Examples, batch_size: int, task: Task, outputs: Shape) -> "tf.data.Dataset":
    """Batches (x, target (n, *outputs)) of all examples, in their order and without augmentation."""
    import tensorflow as tf

    def load(part: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        x, y = examples.batch(part)
        return x, task.target(x, y, outputs)

    def read(part: "tf.Tensor") -> tuple["tf.Tensor", ...]:
        return _shaped(examples, outputs, tf.numpy_function(load, [part], (_kind(examples), tf.float32)))

    return tf.data.Dataset.range(len(examples)).batch(max(batch_size, 256)).map(read).prefetch(2)


def _kind(examples: Examples) -> "tf.DType":
    """Type of the examples: float32, or int32 for ids."""
    import tensorflow as tf

    return tf.as_dtype(examples.batch(np.zeros(1, np.int64))[0].dtype)


def _shaped(examples: Examples, outputs: Shape, loaded: "list[tf.Tensor]") -> tuple["tf.Tensor", ...]:
    """Set the static shapes, which the results (x, target[, weight]) of a NumPy function lack."""
    one = examples.batch(np.zeros(1, np.int64))[0]
    for tensor, shape in zip(loaded, (one.shape[1:], outputs, ()), strict=False):
        tensor.set_shape([None, *shape])
    return tuple(loaded)


def augmented(x: NDArray[np.float32], augment: Augment, chances: NDArray[np.float64]) -> NDArray[np.float32]:
    """Augmented images (n, height, width, channels).

    chances: (n, 3) random numbers in [0, 1), which decide about mirroring, vertical and horizontal shift. Raises
    StageError if x are not images.
    """
    if x.ndim != 4 or x.dtype != np.float32:
        received = str(x.shape[1:]) if x.dtype == np.float32 else "ids"
        raise StageError(Fault("augment takes images (height, width, channels)", received=received))
    if augment.flip:
        x = np.where(chances[:, 0, None, None, None] < 0.5, x[:, :, ::-1], x)
    if edge := augment.shift:
        n, height, width, _ = x.shape
        padded = np.pad(x, ((0, 0), (edge, edge), (edge, edge), (0, 0)), "edge")
        corners = (chances[:, 1:] * (2 * edge + 1)).astype(np.int64)  # (n, 2), each 0..2 * edge
        rows = corners[:, 0, None] + np.arange(height)  # (n, height)
        columns = corners[:, 1, None] + np.arange(width)
        x = padded[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return x
