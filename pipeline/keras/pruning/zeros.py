"""Schedules and patterns of pruning, and the requirements of XNNPACK's sparse kernels."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import Fault

if TYPE_CHECKING:
    import tf_keras

Ramp = Literal["polynomial", "gradual", "constant"]
UPDATES = 100  # mask updates over the schedule; tfmot's default, one in 100 steps, is too rare for short trainings


def schedule(ramp: Ramp, first: float, last: float, power: float, rises: int, begin: int, end: int) -> Any:
    """tfmot's schedule of the sparsity from `first` to `last` between two training steps, updated last at `end`."""
    from tensorflow_model_optimization.sparsity import keras as sparsity

    frequency = max(1, (end - begin) // (rises if ramp == "gradual" else UPDATES))
    begin = end - max(0, end - begin) // frequency * frequency
    if ramp == "constant" or begin == end:
        return sparsity.ConstantSparsity(last, begin, end, frequency)
    # A polynomial of power 1 with `rises` mask updates gives equal steps.
    return sparsity.PolynomialDecay(first, last, begin, end, 1.0 if ramp == "gradual" else power, frequency)


def unfit_for_m_by_n(kind: str, shape: tuple[int, ...], n: int) -> str:
    """Why a kernel can't have m zeros in each n consecutive inputs; "" if it can."""
    if kind in ("Conv2DTranspose", "Conv1D", "Conv3D", "Conv3DTranspose") or len(shape) not in (2, 4):
        return f"tfmot has no m:n pattern for {kind}"
    return f"has {shape[-2]} inputs, no multiple of {n}" if shape[-2] % n else ""


def unfit_for_blocks(kind: str, shape: tuple[int, ...], block: tuple[int, ...]) -> str:
    """Why a kernel can't be pruned in blocks; "" if it can."""
    if kind not in ("Dense", "Conv2D"):
        return f"is {kind}; blocks are for Dense and Conv2D"
    fits = shape[-2] % block[0] == 0 and shape[-1] % block[1] == 0
    return "" if fits else f"has {shape[-2]} inputs and {shape[-1]} units, which is no multiple of blocks {block}"


def prune_convolutions_in_blocks() -> None:
    """Patch tfmot, for the rest of the process, to prune Conv2D in blocks too; it supports only dense kernels.

    A kernel (height, width, inputs, units) is treated as the matrix (height * width * inputs, units). The class is
    replaced, because tfmot's wrapper creates a new object of it in each call.
    """
    import tensorflow as tf
    from tensorflow_model_optimization.python.core.sparsity.keras import pruning_impl

    class Blocks(pruning_impl.Pruning):  # type: ignore[misc]  # has no types
        def _validate_block(self) -> None:
            """Accept a kernel of any rank."""

        def _maybe_update_block_mask(self, weights: Any) -> Any:
            if self._block_size == [1, 1]:
                return super()._maybe_update_block_mask(weights)
            threshold, mask = super()._maybe_update_block_mask(tf.reshape(weights, [-1, weights.shape[-1]]))
            return threshold, tf.reshape(mask, weights.shape)

    if pruning_impl.Pruning.__name__ != Blocks.__name__:
        pruning_impl.Pruning = Blocks


def least_zeros(values: NDArray[Any], n: int) -> int:
    """The smallest number of zeros in n consecutive inputs of a kernel (..., inputs, outputs), in TFLite's order."""
    rows = np.moveaxis(values, -2, -1).reshape(-1, n)
    return int((rows == 0).sum(axis=1).min())


def xnnpack_faults(model: "tf_keras.Model") -> Iterator[Fault]:
    """Faults for everything that prevents XNNPACK from running the model's 1x1 convolutions sparse, by tfmot's rules.

    Sources: tfmot's PruneForLatencyOnXNNPack, which reports only the first; https://arxiv.org/abs/1911.09723.
    """
    import tensorflow_model_optimization as tfmot

    policy = tfmot.sparsity.keras.PruneForLatencyOnXNNPack()
    inputs = {tensor._keras_history.layer for tensor in model.inputs}
    outputs = {tensor._keras_history.layer for tensor in model.outputs}
    starts = policy._lookup_layers(inputs, policy._start_layer_stop_fn, policy._get_consumers)
    ends = policy._lookup_layers(outputs, policy._end_layer_stop_fn, policy._get_producers)
    if not starts:
        rule = "must begin with ZeroPadding2D(1) and a 3x3 Conv2D of a 3-channel image, stride 2, padding valid"
        yield Fault(f"the model {rule}", received=" and ".join(sorted(layer.name for layer in inputs)))
    if not ends:
        names = " and ".join(sorted(layer.name for layer in outputs))
        yield Fault("there must be a GlobalAveragePooling2D(keepdims=True) above each output", received=names)
    for layer in _between(policy, starts or inputs, ends):
        if not policy._check_layer_support(layer):
            yield Fault(f"{layer.name} must be a layer that XNNPACK runs sparse", received=type(layer).__name__)


def _between(policy: Any, starts: set[Any], ends: set[Any]) -> list[Any]:
    """The layers after `starts`, up to and including `ends`, each once."""
    found: dict[int, Any] = {}
    waiting = [layer for start in starts for layer in policy._get_consumers(start)]
    while waiting:
        layer = waiting.pop(0)
        if id(layer) not in found:
            found[id(layer)] = layer
            waiting += [] if layer in ends else policy._get_consumers(layer)
    return list(found.values())
