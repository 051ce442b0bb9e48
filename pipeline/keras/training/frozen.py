"""Weights that training must leave as they are."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tf_keras


def held(weights: Sequence[Any]) -> "tf_keras.callbacks.Callback":
    """A callback that sets weights back to their present values after each step.

    tfmot's wrapper for quantization-aware training counts the kernel of a frozen layer among its own trainable weights
    (0.8.1, quantize_wrapper.py), in an order that saved files depend on, so that it can't be taken out there.
    """
    import tf_keras

    values = [weight.numpy() for weight in weights]

    def hold(batch: int, logs: Any) -> None:
        for weight, value in zip(weights, values, strict=True):
            weight.assign(value)

    return tf_keras.callbacks.LambdaCallback(on_train_batch_end=hold)


def zeros_held(kernels: Sequence[Any]) -> "tf_keras.callbacks.Callback":
    """A callback that keeps the zeros of these weights: after each step it resets those that are zero now."""
    import tf_keras

    masks = [kernel.numpy() != 0 for kernel in kernels]

    def hold(batch: int, logs: Any) -> None:
        for kernel, mask in zip(kernels, masks, strict=True):
            kernel.assign(kernel * mask)

    return tf_keras.callbacks.LambdaCallback(on_train_batch_end=hold)
