"""Quantization configs that tfmot lacks: for weights of fewer than 8 bits, and for recurrent layers."""

from functools import cache
from typing import Any


@cache
def few_bits() -> Any:
    """The class of tfmot's QuantizeConfig for weights of fewer than 8 bits. A saved model refers to it by name.

    Weights are symmetric: integers from -(2^(bits-1) - 1) to 2^(bits-1) - 1 times a scale. There is one scale per
    channel of a convolution, and one per dense layer, because the converter supports nothing else there (TensorFlow
    2.21).
    """
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
        default_8bit_quantize_registry as registry,
    )

    class FewBitsQuantizeConfig(registry.Default8BitQuantizeConfig):  # type: ignore[misc]
        def __init__(
            self, weight_attrs: list[str], activation_attrs: list[str], quantize_output: bool, bits: int, per_axis: bool
        ) -> None:
            super().__init__(weight_attrs, activation_attrs, quantize_output)
            if per_axis:
                convolution = registry.Default8BitConvQuantizeConfig(weight_attrs, [], False)
                self.weight_quantizer = convolution.weight_quantizer
            self.weight_quantizer.num_bits = bits
            self.bits, self.per_axis = bits, per_axis

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "bits": self.bits, "per_axis": self.per_axis}

    return FewBitsQuantizeConfig


@cache
def recurrent() -> Any:
    """The class of tfmot's QuantizeConfig for LSTM, GRU and SimpleRNN. A saved model refers to it by name.

    The kernels, which lie in the layer's cell, are rounded with one scale each, as the int8 LSTM op has them, and so is
    the result of the layer. What the gates compute between them is not rounded in training.
    """
    from tensorflow_model_optimization.python.core.quantization.keras.collab_opts.prune_preserve import (
        prune_preserve_quantize_registry as preserving,
    )
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
        default_8bit_quantize_registry as registry,
    )

    class OfCell(preserving.PrunePreserveDefault8BitWeightsQuantizer):  # type: ignore[misc]
        def _build_sparsity_mask(self, name: str, layer: Any) -> dict[str, Any]:
            kernel = getattr(layer.layer.cell, name).numpy()  # tfmot looks in the layer, which has none
            return {"sparsity_mask": (kernel != 0).astype(kernel.dtype)}

    class RecurrentQuantizeConfig(registry.Default8BitQuantizeConfig):  # type: ignore[misc]
        def keep_zeros(self) -> None:
            self.weight_quantizer = OfCell()

        def get_weights_and_quantizers(self, layer: Any) -> list[tuple[Any, Any]]:
            return [(getattr(layer.cell, name), self.weight_quantizer) for name in self.weight_attrs]

        def set_quantize_weights(self, layer: Any, quantize_weights: list[Any]) -> None:
            for name, weight in zip(self.weight_attrs, quantize_weights, strict=True):
                setattr(layer.cell, name, weight)

    return RecurrentQuantizeConfig
