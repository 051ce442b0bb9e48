"""Where the error comes from: recorded tensors against the float model's."""

import numpy as np
import pytest

from pipeline.verify import tensor_errors
from pipeline.verify.interpreters import litert


@pytest.fixture(scope="module")
def found(models, images):
    return tensor_errors.errors(models["int8"], images, tensor_errors.layers(models["float32"], images))


def test_every_quantized_tensor_is_compared_and_the_worst_comes_first(found):
    ratios = [error.sqnr_db for error in found]
    assert len(found) >= 5
    assert ratios == sorted(ratios)
    assert all(15 < ratio < 80 for ratio in ratios)
    assert [bool(error.counts) for error in found[:6]] == [True] * min(6, len(found))


def test_the_figures_of_a_tensor_follow_their_definitions(models, images):
    reference = {"out": litert.run(models["float32"], images)}
    name = next(iter(tensor_errors.tflite.read(models["int8"]).signature.outputs))
    (error,) = tensor_errors.errors(models["int8"], images, {name: [reference["out"]]})
    q, f = litert.run(models["int8"], images, kernels="builtin").astype(float), reference["out"].astype(float)
    e = q - f
    assert error.sqnr_db == pytest.approx(10 * np.log10((f**2).sum() / (e**2).sum()))
    assert error.rmse_over_scale == pytest.approx(np.sqrt((e**2).mean()) / error.scale)
    assert error.max_abs == pytest.approx(np.abs(e).max())
    assert error.relative == pytest.approx(np.abs(e).sum() / np.abs(f).sum())
    assert error.power == pytest.approx(1 - (q**2).sum() / (f**2).sum())
    assert error.cosine == pytest.approx((q * f).sum() / np.sqrt((q**2).sum() * (f**2).sum()))
    assert sum(error.counts) == sum(error.float_counts) == q.size


def test_what_the_reference_does_not_know_is_left_out(models, images):
    assert tensor_errors.errors(models["int8"], images, {}) == ()
    assert tensor_errors.errors(models["int8"], images, {"conv1": [np.zeros((20, 1), np.float32)]}) == ()


def test_the_same_file_has_no_error(models, images):
    same = tensor_errors.errors(models["int8"], images, tensor_errors.layers(models["int8"], images))
    assert {error.sqnr_db for error in same} == {None}
    assert {error.max_abs for error in same} == {0.0}
