"""Networks in layers that have int8 kernels: equal to the original, and integer-only after qat."""

from typing import Any

import pytest

from tests.support import surgery_nets

NAMES = (
    "nested, twice", "nested, at the end", "nested, frozen", "squeeze and excite", "hard swish", "raw ops",
    "mean and slice", "normalisation alone", "normalisation beside", "normalised vectors", "1D layers",
    "dense on a sequence", "separable", "rescaling", "normalization", "average of three", "another ceiling",
    "layer norm", "transposed", "inception", "minimum and bilinear", "softmax", "functions",
    "functions joined", "attention", "attention of images", "dot-product attention", "group norm", "frames",
    "running sum",
)  # fmt: skip
FLOAT = {"running sum"}  # not value by value, so it is no table


@pytest.fixture(scope="module")
def surgery(in_child: Any) -> dict[str, Any]:
    """Figures by the names of the networks."""
    (found,) = in_child(surgery_nets.measure)
    return dict(found)


def test_every_network_is_measured(surgery: dict[str, Any]) -> None:
    assert tuple(surgery) == (*NAMES, "ports", "subclassed", "preserved", "per_tensor")


@pytest.mark.parametrize("name", NAMES)
def test_the_rewritten_network_gives_the_same(surgery: dict[str, Any], name: str) -> None:
    found = surgery[name]
    assert found["error"] < (2e-3 if "attention" in name else 1e-5)  # masked positions get up to 1/512 of the attention
    assert found["names"][0] == found["names"][1]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in FLOAT])
def test_it_becomes_integer_only_without_calibration(surgery: dict[str, Any], name: str) -> None:
    found = surgery[name]
    assert found["integer_only"]
    assert found["breaches"] == []
    assert found["lsb"][1] < 1  # on average; single values differ by what a rounding upstream grows to


def test_what_has_no_int8_kernel_is_named(surgery: dict[str, Any]) -> None:
    left = {name: list(surgery[name]["left"].values()) for name in NAMES if surgery[name]["left"]}
    assert left == {"running sum": ["there is no training with 8-bit rounding for the TensorFlow op math.cumsum"]}


def test_a_function_without_an_int8_kernel_is_one_op_or_a_table(surgery: dict[str, Any]) -> None:
    ops = surgery["functions"]["ops"]
    assert (ops["ELU"], ops["GATHER"]) == (2, 5)
    assert not ops.keys() & {"EXP", "LOG", "SELECT", "SQUARE", "GREATER"}
    assert surgery["functions"]["lsb"][0] <= 1


def test_a_function_does_not_clip_what_it_is_concatenated_with(surgery: dict[str, Any]) -> None:
    """Its range was given to the whole concatenation if there was a reshape in between."""
    assert surgery["functions joined"]["lsb"][0] <= 1


def test_a_normalisation_alone_is_one_convolution_of_its_channels(surgery: dict[str, Any]) -> None:
    assert surgery["normalisation alone"]["ops"] == {"DEPTHWISE_CONV_2D": 2, "ADD": 1}
    assert surgery["normalised vectors"]["ops"] == {"RESHAPE": 2, "DEPTHWISE_CONV_2D": 1, "CONV_2D": 1}


def test_the_average_pooling_of_an_inception_block_has_right_biases(surgery: dict[str, Any]) -> None:
    assert surgery["inception"]["lsb"][0] < 2  # tfmot alone is 30 off, with a breach of R7


def test_each_new_layer_stands_for_an_old_one(surgery: dict[str, Any]) -> None:
    assert surgery["softmax"]["origin"] == ["image", "scores"]


def test_inputs_outputs_and_shared_layers_stay(surgery: dict[str, Any]) -> None:
    assert surgery["ports"]["error"] < 1e-5
    assert surgery["ports"]["names"][0] == surgery["ports"]["names"][1]
    assert surgery["ports"]["flat"].count("shared") == 1


def test_layers_of_nested_models_keep_their_names_as_far_as_they_can(surgery: dict[str, Any]) -> None:
    assert {"twice", "nest"} <= set(surgery["ports"]["flat"])  # the second is the output, named after its model


def test_a_subclassed_model_inside_is_refused(surgery: dict[str, Any]) -> None:
    assert "the nested model 'own' must be Sequential or functional (received Own)" in surgery["subclassed"]


def test_the_zeros_of_every_kernel_are_in_the_file(surgery: dict[str, Any]) -> None:
    """Of 1x1, transposed and depthwise convolutions too, and of those with nothing between them and their ReLU."""
    kept = surgery["preserved"]
    assert len(kept) == 10
    assert any("/bare/" in name or "quant_bare" in name for name in kept)
    assert min(kept.values()) >= 0.5


def test_weights_that_are_trained_with_one_scale_have_one_in_the_file(surgery: dict[str, Any]) -> None:
    assert surgery["per_tensor"] == {"int8": [1, 1, 1], "int8 preserved": [1, 1, 1]}
