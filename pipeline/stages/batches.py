"""Examples as a tf.data stream of batches, with order and augmentation as functions of (seed, epoch, position)."""

from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.errors import Fault, StageError
from pipeline.stage import Examples, Strict

if TYPE_CHECKING:
    import tensorflow as tf


class Augment(Strict):
    """Random changes of training images (height, width, channels)."""

    flip: bool = False
    """Mirror left to right with probability one half."""
    shift: Annotated[int, Field(ge=0)] = 0
    """Move by up to that many pixels in each direction; the edge is repeated."""


def shuffled(
    examples: Examples,
    *,
    batch_size: int,
    classes: int,
    seed: int,
    epochs: range,
    augment: Augment,
    weights: NDArray[np.float32] | None,
) -> "tf.data.Dataset":
    """Batches (x, one-hot label[, weight]) of those epochs, each in an order of its own that (seed, epoch) decide."""
    import tensorflow as tf

    def order(epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng([seed, int(epoch)]).permutation(len(examples))

    def of_epoch(epoch: "tf.Tensor") -> "tf.data.Dataset":
        positions = tf.numpy_function(order, [epoch], tf.int64)
        positions.set_shape([len(examples)])
        parts = tf.data.Dataset.from_tensor_slices(positions).batch(batch_size)
        return parts.map(lambda part: (epoch, part))

    def read(epoch: "tf.Tensor", part: "tf.Tensor") -> tuple["tf.Tensor", ...]:
        x, y = _read(examples, part)
        x = _augmented(x, augment, seed, epoch, part)
        hot = tf.one_hot(y, classes)
        return (x, hot) if weights is None else (x, hot, tf.gather(tf.constant(weights), y))

    numbers = tf.data.Dataset.range(epochs.start, epochs.stop)
    return numbers.flat_map(of_epoch).map(read).prefetch(2)


def in_order(examples: Examples, batch_size: int, classes: int) -> "tf.data.Dataset":
    import tensorflow as tf

    def read(part: "tf.Tensor") -> tuple["tf.Tensor", "tf.Tensor"]:
        x, y = _read(examples, part)
        return x, tf.one_hot(y, classes)

    return tf.data.Dataset.range(len(examples)).batch(max(batch_size, 256)).map(read).prefetch(2)


def _read(examples: Examples, part: "tf.Tensor") -> tuple["tf.Tensor", "tf.Tensor"]:
    import tensorflow as tf

    shape = examples.batch(np.zeros(1, np.int64))[0].shape[1:]
    x, y = tf.numpy_function(examples.batch, [part], (tf.float32, tf.int64))
    x.set_shape([None, *shape])
    y.set_shape([None])
    return x, y


def _augmented(x: "tf.Tensor", augment: Augment, seed: int, epoch: "tf.Tensor", part: "tf.Tensor") -> "tf.Tensor":
    """Images (n, height, width, channels) changed by random numbers that (seed, epoch, position) decide."""
    import tensorflow as tf

    if not (augment.flip or augment.shift):
        return x
    if len(x.shape) != 4:
        raise StageError(Fault("augment takes images (height, width, channels)", received=str(tuple(x.shape[1:]))))
    height, width, edge = x.shape[1], x.shape[2], augment.shift

    def change(values: tuple["tf.Tensor", "tf.Tensor"]) -> "tf.Tensor":
        image, position = values
        key = tf.random.fold_in(tf.random.fold_in([seed & 0x7FFFFFFF, 1], epoch), position)
        if augment.flip:
            mirrored = tf.random.stateless_uniform([], key) < 0.5
            image = tf.where(mirrored, tf.reverse(image, [1]), image)
        if edge:
            padded = tf.pad(image, [[edge, edge], [edge, edge], [0, 0]], "SYMMETRIC")
            corner = tf.random.stateless_uniform([2], tf.random.fold_in(key, 1), 0, 2 * edge + 1, tf.int32)
            image = tf.slice(padded, [corner[0], corner[1], 0], [height, width, -1])
        return image

    changed = tf.map_fn(change, (x, part), fn_output_signature=tf.float32)
    changed.set_shape(x.shape)
    return changed
