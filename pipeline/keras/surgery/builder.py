"""The base class of the rewriting of layers: tensors of rank 4, and the layers that most rules need."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.keras.surgery.graph import Call, Rebuild

if TYPE_CHECKING:
    import tf_keras


class Builder(Rebuild):
    """A new model in which layers that work along one axis compute in two, with a height of 1, as in TFLite.

    The output of such a layer is kept in both shapes. The next layer uses the one of rank 4 if it can, and reshapes
    that nothing reads are not part of the new model.
    """

    def __init__(self, floors: Mapping[str, float] | None = None) -> None:
        """floors: attention layer -> the score of its masked positions."""
        super().__init__()
        self.floors = floors or {}
        self.masked: set[str] = set()  # attention layers with masks
        self._wide: dict[int, Any] = {}  # id of a tensor of rank 2, 3 or 5 -> it, kept alive, and its form of rank 4

    def is_wide(self, x: Any) -> bool:
        """Whether the tensor already exists as (n, height, width, channels)."""
        return id(x) in self._wide

    def wide(self, call: Call) -> Any:
        """The input as (n, height, width, channels); of frames (n, d, height, width, channels), as n * d images."""
        from tf_keras import layers

        x = call.x
        if x.shape.rank == 4:
            return x
        if id(x) not in self._wide and x.shape.rank == 5:
            self._wide[id(x)] = (x, self.reshaped(call, x, [-1, *x.shape[2:]], "_wide"))
        if id(x) not in self._wide:
            shape = (1, -1, x.shape[2]) if x.shape.rank == 3 else (1, 1, x.shape[1])
            wide = self.put(call, lambda name: layers.Reshape(shape, name=name), x, suffix="_wide")
            self._wide[id(x)] = (x, wide)
        return self._wide[id(x)][1]

    def narrow(self, call: Call, wide: Any, frames: int | None = None) -> Any:
        """A result of rank 4 in the rank of the old layer's output; later layers may not need this form.

        frames: of the output, if there are others than in the input.
        """
        from tf_keras import layers

        rank = call.x.shape.rank
        if rank == 4:
            return wide
        if rank == 5:
            narrow = self.reshaped(call, wide, [-1, frames or call.x.shape[1], *wide.shape[1:]], "_narrow")
        else:
            shape = (-1, wide.shape[3]) if rank == 3 else (wide.shape[3],)
            narrow = self.put(call, lambda name: layers.Reshape(shape, name=name), wide, suffix="_narrow")
        self._wide[id(narrow)] = (narrow, wide)
        return narrow

    def reshaped(self, call: Call, x: Any, shape: list[int], suffix: str) -> Any:
        """x in another shape, which includes that of the batch: Keras's Reshape keeps the batch."""
        import tensorflow as tf

        return self.put(call, lambda name: op(tf.reshape)(name=name), x, shape, suffix=suffix)

    def pointwise(self, call: Call) -> Any:
        """A copy of a layer that treats all values alike, whatever their position."""
        if self.is_wide(call.x) and getattr(call.layer, "noise_shape", None) is None:
            return self.narrow(call, self.copy(call.on(self.wide(call))))
        return self.copy(call)

    def scaled(self, call: Call, x: Any, factor: Any, suffix: str = "") -> Any:
        """factor * x, where factor is a number or has one number per channel."""
        from tf_keras import layers

        return self.put(call, lambda name: layers.Rescaling(factor, name=name), x, suffix=suffix)

    def shifted(self, call: Call, x: Any, offset: Any, suffix: str = "") -> Any:
        """x + offset, where offset is a number or has one number per channel."""
        from tf_keras import layers

        return self.put(call, lambda name: layers.Rescaling(1.0, offset, name=name), x, suffix=suffix)

    def affine(self, call: Call, x: Any, scale: Any, offset: Any) -> Any:
        """scale * x + offset per channel of x (n, h, w, c), not trained, as a depthwise 1x1 convolution."""
        from tf_keras import layers

        channels = x.shape[-1]
        kernel = np.broadcast_to(scale, (channels,)).reshape(1, 1, channels, 1)
        bias = np.broadcast_to(offset, (channels,))
        return self.put(
            call, lambda name: layers.DepthwiseConv2D(1, name=name, trainable=False), x, weights=[kernel, bias]
        )

    def relu6(self, call: Call, x: Any, suffix: str = "") -> Any:
        from tf_keras import layers

        return self.put(call, lambda name: layers.ReLU(6.0, name=name), x, suffix=suffix)

    def hard_sigmoid(self, call: Call, x: Any) -> Any:
        """clip(0.2 x + 0.5, 0, 1), which is relu6(1.2 x + 3) / 6."""
        y = self.shifted(call, self.scaled(call, x, 1.2, "_scale"), 3.0, "_shift")
        return self.scaled(call, self.relu6(call, y, "_relu6"), 1 / 6)

    def paired(self, call: Call, kind: "Callable[..., tf_keras.layers.Layer]", suffix: str = "") -> Any:
        """A merge of two inputs at a time, as TFLite computes it, because each rounded result has its own range."""
        total, *more = call.x
        for i, x in enumerate(more, start=1):
            end = suffix if i == len(more) else f"{suffix}_{i}"
            total = self.put(call, lambda name: kind(name=name), [total, x], suffix=end)
        return total


def op(function: Callable[..., Any]) -> Callable[..., "tf_keras.layers.Layer"]:
    """A layer class for a TensorFlow function, as Keras makes for a call of the function on its tensors."""
    from tf_keras.src.layers.core.tf_op_layer import TFOpLambda

    return partial(TFOpLambda, function)
