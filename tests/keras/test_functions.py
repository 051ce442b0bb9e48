"""Activation functions in int8 files, which LiteRT and TFLite Micro compute alike."""

from typing import Any

import pytest

from tests.bench import functions

# Function -> largest error in steps of the output, where it is made of several ops that round one after the other.
SEVERAL = {"swish": 1.0, "hard_sigmoid": 3.0, "LeakyReLU": 1.0, "tanh": 1.05, "sigmoid": 0.7}
ONCE = 0.55  # one rounding, and the float32 of the kernels


@pytest.fixture(scope="module")
def measured(in_child: Any) -> dict[str, Any]:
    """Figures by the names of the functions."""
    (found,) = in_child(functions.measure)
    return dict(found)


def test_every_function_is_integer_only_and_right_on_both_runtimes(measured: dict[str, Any]) -> None:
    assert len(measured) == 22
    assert not [name for name, row in measured.items() if not row["integer_only"]]
    worst = {name: max(row["litert"]["steps"], row["tflm"]["steps"]) for name, row in measured.items()}
    assert {name: steps for name, steps in worst.items() if steps > SEVERAL.get(name, ONCE)} == {}


def test_a_chain_of_ops_is_one_table(measured: dict[str, Any]) -> None:
    table = {"CAST": 1, "ADD": 1, "GATHER": 1}
    for name in ("selu", "softplus", "mish", "gelu", "exponential", "log sigmoid", "ThresholdedReLU"):
        assert measured[name]["ops"] == table, name
    assert measured["elu"]["ops"] == {"ELU": 1}


def test_what_has_kernels_everywhere_stays_as_it_is(measured: dict[str, Any]) -> None:
    assert measured["swish"]["ops"] == {"LOGISTIC": 1, "MUL": 1}
    assert measured["hard swish"]["ops"] == {"HARD_SWISH": 1}
