"""Inputs that are ids, as the network says: they stay whole numbers, and what it can't look up is told by its place."""

import numpy as np
import pytest

from pipeline.core.errors import InputError
from pipeline.data import contract
from pipeline.data.sources.digits import Digits
from pipeline.data.sources.npz import Npz
from pipeline.data.spec import Whole

IDS = Whole(1000, ids=True)
RANDOM = np.random.default_rng(0)
X = RANDOM.integers(0, 1000, (60, 12))
Y = np.arange(60) % 3


def source(folder, x, whole=IDS, **settings):
    np.savez(folder / "data.npz", x_train=x, y_train=Y)
    return Npz(source="npz", path=folder / "data.npz", **settings).feeding(whole)


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint16", "float32"])
def test_ids_of_any_type_are_read_as_int32_without_arithmetic(tmp_path, dtype):
    data = source(tmp_path, X.astype(dtype))
    x, _ = data.split("train").batch(np.arange(5))
    assert x.dtype == np.int32
    assert {row.tobytes() for row in x} <= {row.astype(np.int32).tobytes() for row in X}
    assert data.spec().ids == 1000


def test_bytes_are_ids_for_an_embedding_and_quantities_for_anything_else(tmp_path):
    small = (X % 200).astype(np.uint8)
    assert source(tmp_path, small, Whole(200, ids=True)).split("train").batch(np.arange(9))[0].max() > 1
    assert source(tmp_path, small, None).split("train").batch(np.arange(9))[0].max() <= 1
    assert source(tmp_path, small, Whole(256, ids=False)).split("train").batch(np.arange(9))[0].dtype == np.float32


def test_the_key_of_data_changes_only_for_ids(tmp_path):
    assert "whole" not in source(tmp_path, X, None).identity()
    assert source(tmp_path, X).identity()["whole"] == [1000, True]


@pytest.mark.parametrize(
    ("value", "said"), [(1000, "1000 in example 7, at [2]; 1 like it"), (-1, "-1 in example 7"), (2.5, "2.5 in exam")]
)
def test_an_id_that_the_network_lacks_is_told_by_its_place(tmp_path, value, said):
    x = X.astype(type(value))
    x[7, 2] = value
    with pytest.raises(InputError, match="ids from 0 to 999") as error:
        source(tmp_path, x).spec()
    assert said in str(error.value)
    assert "data.npz: train" in str(error.value)


@pytest.mark.parametrize("settings", [{"scale": 0.5}, {"offset": 1.0}])
def test_a_scale_for_ids_is_an_error(tmp_path, settings):
    with pytest.raises(InputError, match="no scale and no offset"):
        source(tmp_path, X, **settings).spec()


def test_a_source_that_scales_has_no_ids():
    with pytest.raises(InputError, match=r"scale 0\.0625"):
        Digits().feeding(IDS).spec()


def test_the_contract_says_how_many_ids_there_are(tmp_path):
    carried = source(tmp_path, X).contract()
    assert carried.takes == "int32 ids 0 to 999, 12"
    again, why = contract.read({contract.NAME: carried.encoded()}, [(1, 12)])
    assert (again, why) == (carried, "")
    assert again.whole == IDS
    assert b"ids" not in source(tmp_path, X, None).contract().encoded()
    with pytest.raises(InputError, match="made for ids 0 to 999"):
        contract.require(carried, source(tmp_path, X, None).contract(), "words.tflite")


@pytest.mark.parametrize("dtype", [bool, np.uint8])
def test_zeros_and_ones_are_not_scaled(tmp_path, dtype):
    data = source(tmp_path, (X % 2).astype(dtype), None)
    assert set(np.unique(data.split("train").batch(np.arange(9))[0])) == {0.0, 1.0}
    assert data.contract().takes == "uint8 0 to 1, 12"
