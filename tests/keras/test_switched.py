"""Weights that are rounded as the file rounds them."""

import numpy as np
import pytest

from pipeline.keras.surgery.switched import rounded


def test_weights_are_rounded_with_a_scale_for_each_channel():
    weights = np.random.default_rng(1).normal(size=(3, 3, 2, 4)).astype(np.float32) * [1, 0.01, 100, 0]
    steps = rounded(weights.astype(np.float32), [3]) / (np.abs(weights).max(axis=(0, 1, 2)) / 127 + 1e-30)
    assert np.abs(steps - np.round(steps)).max() < 1e-3
    assert np.abs(steps).max() == pytest.approx(127, rel=1e-5)
    assert np.array_equal(rounded(np.zeros((2, 2), np.float32), [1]), np.zeros((2, 2)))
