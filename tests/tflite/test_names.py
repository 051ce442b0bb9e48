"""The Keras layer that a tensor's name tells of."""

import pytest

from pipeline import tflite


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("net/relu1/Relu;net/bn1/FusedBatchNormV3;net/conv1/Conv2D1", "conv1"),
        ("net/quant_relu1/Relu;net/quant_bn1/FusedBatchNormV3;net/quant_conv1/Conv2D1", "conv1"),
        ("net/quant_conv1/Conv2D;net/quant_conv1/LastValueQuant/FakeQuantWithMinMaxVarsPerChannel", "conv1"),
        ("net/relu6/Relu6;net/bn2/FusedBatchNormV3;net/dw/depthwise1", "dw"),
        ("net/logits/MatMul;net/logits/BiasAdd", "logits"),
        ("net/sep/separable_conv2d/depthwise1", "sep"),
        ("net/up/conv2d_transpose1", "up"),
        ("net/gap/Mean/reduction_indices", "gap"),
        ("net/backbone/conv1/Conv2D", "backbone/conv1"),
        ("dense/MatMul", "dense"),
        ("serving_default_image:0", "image"),
        ("Identity", "Identity"),
        ("arith.constant11", "arith.constant11"),
        ("StatefulPartitionedCall:0", ""),
        ("StatefulPartitionedCall:01", ""),
        ("", ""),
        (";/;", ""),
    ],
)
def test_layer_name(name: str, layer: str) -> None:
    assert tflite.layer_name(name) == layer


def test_keras_layers_of_a_fused_tensor() -> None:
    name = "net/quant_relu1/Relu;net/bn1/FusedBatchNormV3;net/backbone/conv1/Conv2D1"
    assert tflite.keras_layers(name) == {"relu1", "bn1", "backbone/conv1", "conv1"}
    assert tflite.keras_layers("StatefulPartitionedCall:0") == frozenset()
