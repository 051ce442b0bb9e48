"""The MLPerf Tiny nets: their published size, in real files, and what they refuse."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from pipeline import tflite
from pipeline.core import units
from pipeline.core.errors import InputError
from pipeline.data.spec import Spec
from pipeline.keras.models.model import AnyModel

PUBLISHED = {  # MLPerf Tiny: 12.502 M, 2.657 M, 7.490 M and 264 k multiply-accumulates
    "resnet8": (12_501_632, "12.502 M"),
    "ds_cnn": (2_656_768, "2.657 M"),
    "mobilenet_v1": (7_489_664, "7.490 M"),
    "autoencoder": (264_192, "264.2 k"),
}


def model(source: str, **settings: Any) -> Any:
    return TypeAdapter(AnyModel).validate_python({"source": source, **settings})


@pytest.mark.parametrize("quantization", ["float32", "int8"])
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_macs_are_the_published_ones(nets: Path, name: str, quantization: str) -> None:
    read = tflite.read(nets / f"{name}_{quantization}.tflite")
    assert (read.macs, units.count(read.macs)) == PUBLISHED[name]
    assert read.quantization == quantization
    assert read.integer_only == (quantization == "int8")


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_op_carries_the_name_of_a_layer(nets: Path, name: str) -> None:
    layers = tflite.read(nets / f"{name}_float32.tflite").layers()
    named = [layer.name for layer in layers if layer.weights_shape]
    assert len(set(named)) == len(named)
    assert not [layer for layer in named if "/" in layer or layer[-2:-1] == "_"]  # conv2d_1 is Keras's own choice


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shape", "labels", "rule"),
    [
        ("resnet8", (32, 32), 10, "takes images"),
        ("resnet8", (32, 3, 3), 10, "at least 4x4"),
        ("ds_cnn", (9, 10, 1), 12, "at least 10x4"),
        ("ds_cnn", (16000,), 12, "takes spectrograms"),
        ("mobilenet_v1", (28, 28, 1), 10, "at least 32x32"),
        ("autoencoder", (8, 8, 1), 0, "takes flat examples"),
        ("mlp", (8, 8, 1), 10, "takes flat examples"),
        ("transformer", (64,), 10, "takes sequences or images"),
        ("transformer", (3, 6), 10, "of at least 4 steps or pixels"),
    ],
)
def test_data_that_does_not_fit_is_refused(name: str, shape: tuple[int, ...], labels: int, rule: str) -> None:
    with pytest.raises(InputError, match=rule) as caught:
        model(name).build(Spec(shape, tuple(map(str, range(labels)))))
    assert caught.value.faults[0].do


@pytest.mark.slow
def test_a_network_of_keras_says_how_large_its_images_must_be() -> None:
    with pytest.raises(InputError, match="Input size must be at least 75x75") as caught:
        model("applications", network="InceptionV3").build(Spec((32, 32, 3), ("a", "b")))
    assert "(32, 32, 3)" in caught.value.faults[0].received


def test_only_networks_with_a_width_take_alpha() -> None:
    with pytest.raises(ValidationError, match="alpha: must be 1 for ResNet50"):
        model("applications", network="ResNet50", alpha=0.5)


def test_width_and_depth_are_settings() -> None:
    assert model("resnet8").filters == 16
    assert (model("ds_cnn").filters, model("ds_cnn").blocks) == (64, 4)
    assert model("mobilenet_v1").alpha == 0.25
    assert (model("autoencoder").units, model("autoencoder").code) == (128, 8)
