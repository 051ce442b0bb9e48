"""Outputs that are NaN or infinite are no numbers: nothing is scored by them, and their file fails."""

import json

import numpy as np
import pytest

LOSSES = "gives NaN or infinity for 25 of 100 examples, first in LOG of layer 'log'"


def convert(send, folder):
    """A float file that gives NaN where the first value is negative, and one that gives the same without."""
    from pipeline.keras import tf
    from pipeline.keras.conversion.converter import converter_of
    from pipeline.keras.conversion.trace import traced

    tf.start(0)
    import tensorflow
    from tf_keras import Input, Model, layers

    inputs = Input((4,), name="x")
    outputs = layers.Dense(3, activation="softmax", name="head")
    for name, function in (("broken", tensorflow.math.log), ("whole", tensorflow.math.abs)):
        x = layers.Lambda(function, name="log")(inputs)
        converter = converter_of(traced(Model(inputs, outputs(x)), (4,)))
        (folder / f"{name}.tflite").write_bytes(converter.convert())


@pytest.fixture(scope="module")
def files(once, in_child):
    return once("finite", lambda folder: in_child(convert, folder))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    x = np.random.default_rng(0).random((100, 4), dtype=np.float32) + 0.1
    x[:25, 0] = -1
    path = tmp_path_factory.mktemp("data") / "data.npz"
    np.savez(path, x_train=x, y_train=np.arange(100) % 3, x_test=x, y_test=np.arange(100) % 3)
    np.savez(path.with_name("arrays.npz"), x=x)
    return path


def test_a_file_that_gives_nan_has_no_metric_and_fails(edgepipe, files, data):
    code, out, _ = edgepipe("verify", files / "broken.tflite", "--data", data, "--json")
    report = json.loads(out)
    (model,) = report["models"]
    assert code == 5
    assert model["metrics"] == {}
    assert set(model["missing"].values()) == {LOSSES}
    assert [row["not_finite"] for row in model["runtimes"]] == [LOSSES] * 3
    assert [row["accuracy"] for row in model["runtimes"]] == [None] * 3
    (check,) = report["checks"]
    assert (check["check"], check["status"], check["why"]) == ("finite", "fail", f"LiteRT, XNNPACK: {LOSSES}")


def test_it_is_told_on_the_terminal_and_is_no_baseline(edgepipe, files, data, written):
    checks = written("checks: [{check: accuracy, max_drop: 0.5}]", "checks.yaml")
    arguments = ("--data", data, "--baseline", files / "broken.tflite", "--checks", checks)
    code, out, _ = edgepipe("verify", files / "whole.tflite", *arguments)
    assert code == 5
    assert "first in LOG of layer 'log'" in out
    assert "finite outputs" in out


def test_outputs_without_labels_are_looked_at_too(edgepipe, files, data):
    code, out, _ = edgepipe("verify", files / "broken.tflite", "--data", data.with_name("arrays.npz"), "--json")
    report = json.loads(out)
    assert code == 5
    assert report["checks"][0]["why"] == "LiteRT, XNNPACK: gives NaN or infinity for 25 of 100 examples"
