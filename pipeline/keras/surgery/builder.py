"""What the rewriting of layers has in common: tensors in two shapes, and the few layers that most rules are made of."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.keras.surgery.graph import Call, Rebuild

if TYPE_CHECKING:
    import tf_keras


class Builder(Rebuild):
    """A new model in which what works along one axis is computed in two, with a height of 1, as TFLite does.

    A tensor that came out of such a layer is kept in both shapes: layer after layer goes on with the one of rank 4, and
    reshapes that no one reads are not part of the new model.
    """

    def __init__(self) -> None:
        super().__init__()
        self._wide: dict[int, Any] = {}  # id of a tensor of rank 2 or 3 -> itself, kept alive, and the one of rank 4

    def is_wide(self, x: Any) -> bool:
        """Whether the tensor is there as (n, height, width, channels) already."""
        return id(x) in self._wide

    def wide(self, call: Call) -> Any:
        """The input as (n, height, width, channels)."""
        from tf_keras import layers

        x = call.x
        if x.shape.rank == 4:
            return x
        if id(x) not in self._wide:
            shape = (1, -1, x.shape[2]) if x.shape.rank == 3 else (1, 1, x.shape[1])
            wide = self.put(call, lambda name: layers.Reshape(shape, name=name), x, suffix="_wide")
            self._wide[id(x)] = (x, wide)
        return self._wide[id(x)][1]

    def narrow(self, call: Call, wide: Any) -> Any:
        """A result of rank 4 in the rank that the old layer gave, which the layers after it may not need."""
        from tf_keras import layers

        rank = call.x.shape.rank
        if rank == 4:
            return wide
        shape = (-1, wide.shape[3]) if rank == 3 else (wide.shape[3],)
        narrow = self.put(call, lambda name: layers.Reshape(shape, name=name), wide, suffix="_narrow")
        self._wide[id(narrow)] = (narrow, wide)
        return narrow

    def pointwise(self, call: Call) -> Any:
        """A copy of a layer that treats every value alike wherever it stands."""
        if self.is_wide(call.x) and getattr(call.layer, "noise_shape", None) is None:
            return self.narrow(call, self.copy(call.on(self.wide(call))))
        return self.copy(call)

    def scaled(self, call: Call, x: Any, factor: Any, suffix: str = "") -> Any:
        """factor * x, where factor is a number or one for each channel."""
        from tf_keras import layers

        return self.put(call, lambda name: layers.Rescaling(factor, name=name), x, suffix=suffix)

    def shifted(self, call: Call, x: Any, offset: Any, suffix: str = "") -> Any:
        """x + offset, where offset is a number or one for each channel."""
        from tf_keras import layers

        return self.put(call, lambda name: layers.Rescaling(1.0, offset, name=name), x, suffix=suffix)

    def affine(self, call: Call, x: Any, scale: Any, offset: Any) -> Any:
        """scale * x + offset for each channel of x (n, h, w, c), not trained: a depthwise 1x1 convolution is exact."""
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
        """A merge, two inputs at a time as TFLite computes it: each result that is rounded has a range of its own."""
        total, *more = call.x
        for i, x in enumerate(more, start=1):
            end = suffix if i == len(more) else f"{suffix}_{i}"
            total = self.put(call, lambda name: kind(name=name), [total, x], suffix=end)
        return total
