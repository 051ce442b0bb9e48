"""The preprocessing contract: what sources say of themselves, and contracts that are none."""

import numpy as np
import pytest

from pipeline.core.errors import InputError
from pipeline.data import contract
from pipeline.data.contract import NAME
from pipeline.data.sources.digits import Digits
from pipeline.data.sources.npz import Npz
from tests.support.contracts import changed
from tests.support.tflite_models import SHAPE

SHAPES = [(1, *SHAPE)]


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "it is no JSON"),
        (b"\xff\xfe{", "it is no JSON"),
        (b"[" * 100_000, "it is no JSON"),
        (b"[]", "Input should be"),
        (b" " * (contract.MOST_BYTES + 1), "1,048,577 bytes"),
        (changed(scale="1"), "scale: "),
        (changed(scale=float("nan")), "scale: "),
        (changed(range=[0, 1e999]), "range: "),
        (changed(shape=[-16, 16, 3]), "shape: "),
        (changed(shape=[1] * 9), "shape: "),
        (changed(shape=[8, 8, 3]), "for examples of shape (8, 8, 3), and the file takes (16, 16, 3)"),
        (changed(labels=[1, 2]), "labels: "),
        (changed(raw_dtype="\x1b[31mred"), "raw_dtype: "),
        (changed(**{"\x1b[31m": 1}), "it has a field that is not known"),
        (changed(version=2), "version: "),
    ],
)
def test_a_contract_that_is_none_is_calmly_unreadable(raw, why):
    found, said = contract.read({NAME: raw}, SHAPES)
    assert found is None
    assert said.startswith("unreadable: ")
    assert why in said
    assert said.isprintable()


def test_the_digits_know_theirs():
    digits = Digits().contract()
    assert digits.takes == "uint8 0 to 16, 8x8x1 grey, NHWC"
    assert (digits.formula, digits.real_range) == ("x * 0.0625", (0, 1))


@pytest.fixture
def npz(tmp_path):
    """A source over coloured images, as bytes unless another type is asked for."""
    x, y = np.zeros((40, 6, 5, 3), np.uint8), np.arange(40) % 2
    x[:, 0, 0] = np.arange(40)[:, None]

    def source(dtype=np.uint8, **settings):
        np.savez(tmp_path / "data.npz", x_train=x.astype(dtype), y_train=y)
        return Npz(source="npz", path=tmp_path / "data.npz", **settings)

    return source


def test_the_channels_of_images_are_rgb_unless_they_are_named(npz):
    assert npz().contract().channels == "rgb"
    assert npz(channels="bgr").contract().channels == "bgr"
    assert npz(channels="none").contract().layout is None


def test_scale_and_offset_are_its_formula(npz):
    other = npz(np.float64, scale=2, offset=-1).contract()
    assert (other.raw_dtype, other.channels, other.formula) == ("float64", None, "x * 2 - 1")


def test_channels_that_do_not_fit_the_shape_are_refused(npz):
    with pytest.raises(InputError, match=r"grey images are \(height, width, 1\) \(received \(6, 5, 3\)\)"):
        npz(channels="grey").contract()
