"""The examples of `edgepipe verify`: test sets alone, what the file knows of them, quantized arrays, recordings."""

import json

import numpy as np
import pytest

from pipeline import tflite
from pipeline.audit.formula import Formula, formula
from pipeline.core.errors import InputError
from pipeline.tflite.graph import Tensor
from pipeline.verify.interpreters import litert
from tests.support.contracts import RGB, changed, with_metadata
from tests.verify.test_litert import streamed


@pytest.fixture
def verified(edgepipe, tmp_path):
    """Verifies a file on arrays; gives its facts."""

    def run(path, arrays, *options, settings=None):
        np.savez(tmp_path / "x.npz", **arrays)
        data = "x.npz"
        if settings is not None:
            data = "x.yaml"
            (tmp_path / data).write_text(f"data: {{source: npz, path: x.npz}}\n{settings}")
        code, out, err = edgepipe("verify", path, "--data", data, "--json", *options)
        assert code == 0, err
        return json.loads(out)

    return run


@pytest.fixture
def refused(edgepipe, tmp_path):
    """The error of a file on arrays."""

    def run(path, arrays, *options, settings=""):
        np.savez(tmp_path / "x.npz", **arrays)
        (tmp_path / "x.yaml").write_text(f"data: {{source: npz, path: x.npz}}\n{settings}")
        code, out, err = edgepipe("verify", path, "--data", "x.yaml", *options)
        assert (code, out) == (3, "")
        return err

    return run


@pytest.fixture
def images(image_bytes):
    """Test images (100, 16, 16, 3), uint8, and their labels, on which the int8 file is always right."""
    test = image_bytes.split("test")
    return test.raw(np.arange(100)), test.batch(np.arange(100))[1]


def test_a_test_set_alone_is_read_as_the_contract_says(verified, models, images, tmp_path):
    """Scale, offset and labels come from the file, the names of labels that no example has as well."""
    path = with_metadata(models["int8"], changed(scale=2 / 255, offset=-1.0), tmp_path)
    x, y = images
    some = y < y.max()
    report = verified(path, {"x_test": x[some], "y_test": y[some]})
    (facts,) = report["models"]
    assert report["data"]["labels"] == list(RGB.labels)
    assert "real values are x * 0.00784314 - 1, as the file's contract says" in facts["notes"]
    expected = litert.run(models["int8"], x[some].astype(np.float32) * np.float32(2 / 255) - 1).argmax(axis=1)
    assert facts["metrics"]["accuracy"] == pytest.approx(np.mean(expected == y[some]))


def test_labels_that_no_example_has_are_numbered_as_the_outputs(verified, models, images):
    x, y = images
    some = y != np.unique(y)[0]
    report = verified(models["int8"], {"x_test": x[some], "y_test": y[some]})
    assert report["data"]["labels"] == [str(label) for label in range(10)]
    assert report["models"][0]["metrics"]["accuracy"] == 1.0


def test_quantized_examples_are_found_out(verified, models, images):
    """As int8 for an int8 input they are right; taken as real values nearly all of them are cut off."""
    x, y = images
    (tensor,) = tflite.read(models["int8"]).inputs
    q = litert.quantize(x.astype(np.float32) / 255, tensor.scale, tensor.zero_point, "int8")
    (facts,) = verified(models["int8"], {"x_test": q, "y_test": y})["models"]
    assert facts["metrics"]["accuracy"] == 1.0
    assert "examples are int8, as the file's input stores them" in facts["notes"][0]
    (facts,) = verified(models["int8"], {"x_test": q, "y_test": y}, settings="quantized: true")["models"]
    assert facts["metrics"]["accuracy"] == 1.0
    (facts,) = verified(models["int8"], {"x_test": q, "y_test": y}, "--no-quantized")["models"]
    assert facts["metrics"]["accuracy"] < 1.0
    baseline = ("--baseline", models["float32"])  # takes the real values that they stand for
    found = verified(models["int8"], {"image": q}, *baseline)["models"][1]["answers"][0]
    expected = litert.run(models["float32"], litert.dequantize(q, tensor.scale, tensor.zero_point))
    apart = np.abs(litert.run(models["int8"], x.astype(np.float32) / 255) - expected)
    assert found["error"]["max_abs"] == pytest.approx(apart.max())


INT8 = Tensor(0, 0, "x", (1, 4), (1, 4), "INT8", scales=(1 / 255,), zero_points=(-128,))
STORED = (1 / 255, 128 / 255)


@pytest.mark.parametrize(
    ("dtype", "ends", "scale", "zero_point", "expected"),
    [
        ("int8", (-128, 127), 1 / 255, -128, STORED),
        ("int8", (0, 1), 1 / 255, -128, None),  # could be 128 and 129 of 255, or real 0 and 1
        ("int8", (-100, 100), 1.0, 0, (1, 0)),  # both are the same
        ("int8", (-120, 120), 0.95, 0, (1, 0)),  # real values fill the range of the input
        ("int8", (0, 100), 1.0, -128, "asks"),
        ("uint8", (0, 255), 1 / 255, 0, (1 / 255, 0)),  # both are the same
        ("uint8", (0, 255), 1 / 127.5, 127, (1 / 127.5, -127 / 127.5)),  # images for a range of -1 to 1
        ("uint8", (0, 255), 0.0037, 0, (1 / 255, 0)),
        ("int16", (-30000, 30000), 1 / 32768, 0, (1 / 32768, 0)),
    ],
)
def test_integers_of_the_inputs_own_type(dtype, ends, scale, zero_point, expected):
    tensor = Tensor(0, 0, "x", (1, 4), (1, 4), dtype.upper(), scales=(scale,), zero_points=(zero_point,))
    x, default = np.array([ends], dtype), Formula(1 / 255 if dtype == "uint8" else 1.0, 0.0)
    if expected == "asks":
        with pytest.raises(InputError, match="say which with --quantized"):
            formula(x, default, tensor, None, None, "x.npz")
        return
    found = formula(x, default, tensor, None, None, "x.npz")
    assert found[:2] == pytest.approx(expected or default[:2])
    assert formula(x, default, tensor, None, True, "x.npz")[:2] == pytest.approx((scale, -zero_point * scale))


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (np.array([[0, 255]], np.uint8), RGB.scale),  # raw, as the contract's
        (np.array([[0.0, 255.0]], np.float32), RGB.scale),  # raw values in another type
        (np.array([[0.0, 1.0]], np.float32), 1.0),  # prepared already
        (np.array([[0.0, 1e6]], np.float32), 1.0),  # neither: `contract.require` tells it
    ],
)
def test_values_of_another_type_are_read_by_their_range(x, expected):
    assert formula(x, Formula(1.0, 0.0), INT8, RGB, None, "x.npz").scale == expected


def test_token_ids_are_not_quantized(models):
    tensor = Tensor(0, 0, "ids", (1, 4), (1, 4), "INT32")
    assert formula(np.array([[0, 900]], np.int32), Formula(1.0, 0.0), tensor, None, None, "x.npz").why == ""
    with pytest.raises(InputError, match="the type of the input, int32, which is not quantized"):
        formula(np.array([[0, 900]], np.int32), Formula(1.0, 0.0), tensor, None, True, "x.npz")


def test_dimensions_of_size_1_are_added(verified, models):
    x = np.random.default_rng(1).random((9, 6, 3, 1)).astype(np.float32)
    (facts,) = verified(models["lstm"], {"x_test": x, "y_test": np.arange(9) % 2})["models"]
    assert "examples 6x3x1 are given to the file as 6x3" in facts["notes"]
    assert facts["examples"] == 9


def test_recordings_are_scored_after_their_last_step(verified, foreign_models):
    x = np.random.default_rng(2).normal(size=(60, 5, 4)).astype(np.float32)
    expected = streamed(foreign_models["stream"], x)[:, -1].argmax(axis=1)
    y = np.where(np.arange(60) < 45, expected, (expected + 1) % 3)
    arrays = {"x_test": x, "y_test": y}
    (facts,) = verified(foreign_models["stream"], arrays, settings="sequence: true")["models"]
    assert facts["metrics"]["accuracy"] == 0.75
    assert [row["accuracy"] for row in facts["runtimes"]] == [0.75] * 3
    assert "a recording of 5 steps" in facts["notes"][0]
    (facts,) = verified(foreign_models["stream"], arrays)["models"]  # by its dimensions alone
    assert facts["metrics"]["accuracy"] == 0.75
    _, facts = verified(foreign_models["stream_int8"], {"x": x}, "--baseline", foreign_models["stream"])["models"]
    steps = litert.run(foreign_models["stream_int8"], x) - streamed(foreign_models["stream"], x)
    assert facts["answers"][0]["error"]["mean_abs"] == pytest.approx(np.abs(steps).mean(), rel=1e-4)


def test_a_file_that_keeps_state_says_so(verified, foreign_models):
    (facts,) = verified(foreign_models["signatures"], {"x": np.zeros((3, 4), np.float32)})["models"]
    notes = " ".join(facts["notes"])
    assert "of its signatures (step, tell) 'step' is run" in notes
    assert "the file keeps state (" in notes
    (facts,) = verified(foreign_models["dice"], {"x": np.zeros((3, 4), np.float32)})["models"]
    assert facts["notes"] == ["RANDOM_UNIFORM has no seed: figures differ from run to run"]


@pytest.mark.parametrize(
    ("name", "shape", "settings", "message"),
    [
        ("int8", (3, 16, 16, 3), "sequence: true", "`sequence: true`: it keeps no state"),
        ("lstm", (3, 6, 3), "sequence: true", "`sequence: true`: recordings must be (N, steps, 6, 3)"),
        ("lstm", (3, 2, 6, 3), "sequence: false", "must not have one dimension more than the file takes"),
        ("int8", (3, 16, 16, 3), "quantized: true", "`quantized` is for examples of the type of the input, int8"),
    ],
)
def test_what_was_said_of_the_examples_must_fit(refused, models, name, shape, settings, message):
    arrays = {"x_test": np.zeros(shape, np.float32), "y_test": np.arange(3) % 2}
    assert message in refused(models[name], arrays, settings=settings)


def test_quantized_is_for_arrays_alone(edgepipe, models):
    code, out, err = edgepipe("verify", models["int8"], "--data", "digits", "--quantized")
    assert (code, out) == (3, "")
    assert "`quantized` is for an .npz file" in err
