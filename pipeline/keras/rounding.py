"""The quantization config for training weights with fewer than 8 bits, which tfmot lacks."""

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
