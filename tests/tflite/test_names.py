"""The Keras layers that a tensor's name tells of, in files that do not say it themselves."""

import pytest

from pipeline.tflite.names import guessed


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("net/relu1/Relu;net/bn1/FusedBatchNormV3;net/conv1/Conv2D1", ("conv1", "bn1", "relu1")),
        ("net/quant_relu1/Relu;net/quant_bn1/FusedBatchNormV3;net/quant_conv1/Conv2D1", ("conv1", "bn1", "relu1")),
        ("net/quant_conv1/Conv2D;net/quant_conv1/LastValueQuant/FakeQuantWithMinMaxVarsPerChannel", ("conv1",)),
        ("net/relu6/Relu6;net/bn2/FusedBatchNormV3;net/dw/depthwise1", ("dw", "bn2", "relu6")),
        ("net/logits/MatMul;net/logits/BiasAdd", ("logits",)),
        ("net/sep/separable_conv2d/depthwise1", ("sep",)),
        ("net/up/conv2d_transpose1", ("up",)),
        ("net/gap/Mean/reduction_indices", ("gap",)),
        ("net/backbone/conv1/Conv2D", ("backbone/conv1", "conv1")),
        ("dense/MatMul", ("dense",)),
        ("serving_default_image:0", ("image",)),
        ("net/td/Identity/MatMul", ("td/Identity", "Identity")),
        ("Identity", ()),
        ("Identity_1", ()),
        ("arith.constant11", ()),
        ("tfl.quantize", ()),
        ("StatefulPartitionedCall:01", ()),
        ("", ()),
        (";/;", ()),
    ],
)
def test_layers_are_guessed(name: str, layers: tuple[str, ...]) -> None:
    assert guessed(name) == layers


@pytest.mark.parametrize(
    ("op", "name", "layers"),
    [
        (
            "DEPTHWISE_CONV_2D",
            "functional_1/activation_3/Relu;functional_1/batch_normalization_3/FusedBatchNormV3;"
            "functional_1/depthwise_conv2d_1/depthwise;functional_1/depthwise_conv2d_1/BiasAdd;"
            "functional_1/conv2d_4/Conv2D;functional_1/depthwise_conv2d_1/BiasAdd/ReadVariableOp/resource1",
            ("depthwise_conv2d_1", "batch_normalization_3", "activation_3"),
        ),
        (
            "CONV_2D",
            "functional_1/activation_2/Relu;functional_1/batch_normalization_2/FusedBatchNormV3;"
            "functional_1/conv2d_1/BiasAdd/ReadVariableOp/resource;functional_1/conv2d_1/BiasAdd;"
            "functional_1/conv2d_4/Conv2D;functional_1/conv2d_1/Conv2D1",
            ("conv2d_1", "batch_normalization_2", "activation_2"),
        ),
        ("DEPTHWISE_CONV_2D", "m/relu/Relu;m/bn/FusedBatchNormV3;m/dw/depthwise;m/other/Conv2D", ("dw", "bn", "relu")),
    ],
)
def test_the_kind_of_an_op_tells_its_layer_from_one_that_shares_a_constant(
    op: str, name: str, layers: tuple[str, ...]
) -> None:
    """The first two names are those of MLPerf Tiny's keyword spotting network."""
    assert guessed(name, op) == layers
