"""The errors of outputs, by hand."""

import numpy as np
import pytest

from pipeline.verify import output_comparison


def test_error_by_hand():
    error = output_comparison.error(np.array([[1.0, 2.0]], np.float32), np.array([[1.0, 1.0]], np.float32))
    assert (error.mean_abs, error.max_abs) == (0.5, 1.0)
    assert error.sqnr_db == pytest.approx(10 * np.log10(2))
    assert error.cosine == pytest.approx(3 / np.sqrt(10))


def test_equal_outputs_have_no_error():
    zero = output_comparison.error(np.zeros((1, 2), np.float32), np.zeros((1, 2), np.float32))
    assert (zero.max_abs, zero.sqnr_db, zero.cosine) == (0.0, None, None)
