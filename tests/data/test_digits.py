"""The handwritten digits that scikit-learn carries."""

import numpy as np
import pytest

from pipeline.data.source import SPLITS
from pipeline.data.sources.digits import Digits


def test_digits_are_1797_images_in_four_disjoint_splits():
    data = Digits()
    splits = {name: data.split(name) for name in SPLITS}
    assert sum(map(len, splits.values())) == 1797
    assert {name: len(split) for name, split in splits.items()} == {
        "train": 1080, "validation": 179, "calibration": 179, "test": 359,
    }  # fmt: skip
    contents = [{row.tobytes() for row in split.batch(np.arange(len(split)))[0]} for split in splits.values()]
    assert sum(map(len, contents)) == len(set.union(*contents))
    assert data.spec().shape == (8, 8, 1)
    assert data.spec().labels == tuple("0123456789")


def test_each_split_of_digits_holds_its_share_of_every_label():
    for name, share in {"train": 0.6, "validation": 0.1, "calibration": 0.1, "test": 0.2}.items():
        split = Digits().split(name)
        _, y = split.batch(np.arange(len(split)))
        assert np.bincount(y, minlength=10) / 179.7 == pytest.approx(share, abs=0.02)


def test_digits_are_scaled_to_0_1():
    x, y = Digits().split("train").batch(np.arange(100))
    assert (x.dtype, x.shape, y.dtype, y.shape) == (np.float32, (100, 8, 8, 1), np.int64, (100,))
    assert (x.min(), x.max()) == (0, 1)
    assert np.array_equal(x * 16, np.round(x * 16))


def test_the_cut_is_a_function_of_the_split_seed():
    splits = [Digits(split_seed=seed).split("test").sha256 for seed in (0, 0, 1)]
    assert splits[0] == splits[1] != splits[2]
    assert len({Digits().split(name).sha256 for name in SPLITS}) == 4
