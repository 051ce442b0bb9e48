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


def keep(send: Any) -> None:
    """Send, for a network of two functions, the layers of the ops, plain and with the second function in 16 bits."""
    import dataclasses

    import numpy as np

    from pipeline import tflite
    from pipeline.keras import tf

    tf.start(0)
    import tf_keras as keras
    from tf_keras import layers as l

    from pipeline.keras.conversion.conversion import Conversion

    inputs = keras.Input((6, 8), name="x")
    x = l.Conv1D(8, 3, activation="mish", name="conv")(l.ELU(name="elu")(l.Conv1D(8, 3, name="first")(inputs)))
    model = keras.Model(inputs, l.Dense(3, name="last")(l.Flatten()(x)))
    samples = np.random.default_rng(0).normal(size=(32, 6, 8)).astype(np.float32)
    for request in (functions.INT8, dataclasses.replace(functions.INT8, keep_int16=("conv",))):
        read = tflite.read(Conversion(request, model, (6, 8)).content(samples))
        send(({layer.op: layer.name for layer in read.layers()}, read.integer_only))


def test_a_function_keeps_the_name_of_its_layer_and_can_stand_beside_16_bits(in_child: Any) -> None:
    (plain, whole), (kept, still) = in_child(keep)
    assert (plain["ELU"], plain["GATHER"]) == ("elu", "conv")
    assert (whole, still) == (True, True)
    assert kept["ELU"] == "elu"
    assert "GATHER" not in kept  # mish computes in 16 bits, by ops
