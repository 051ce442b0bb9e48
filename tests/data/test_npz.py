"""NumPy archives: splits, preprocessing, and every way in which a user's arrays can be wrong."""

import pickle
import zipfile
from contextlib import suppress

import numpy as np
import pytest

from pipeline.core import archive
from pipeline.core.errors import InputError
from pipeline.data.sources.digits import Digits
from pipeline.data.sources.npz import Npz

RANDOM = np.random.default_rng(0)
X = RANDOM.integers(0, 255, (60, 4, 4), dtype=np.uint8)
Y = np.arange(60) % 3


@pytest.fixture
def npz(tmp_path):
    """An Npz source over an archive of those arrays."""

    def source(arrays=None, *, save=np.savez, settings=None, **changes):
        if arrays is None:
            arrays = {"x_train": X, "y_train": Y} | changes
        save(tmp_path / "data.npz", **arrays)
        return Npz(source="npz", path=tmp_path / "data.npz", **(settings or {}))

    return source


def test_bytes_are_scaled_to_0_1_and_other_numbers_stay(npz):
    everything = np.arange(4)
    x, _ = npz().split("train").batch(everything)
    assert x.max() <= 1
    floats = RANDOM.normal(size=X.shape)
    data = npz(x_train=floats)
    x, _ = data.split("test").batch(everything)
    assert x.dtype == np.float32
    assert {row.tobytes() for row in x} <= {row.astype(np.float32).tobytes() for row in floats}


def test_scale_and_offset_are_applied_in_float32(npz):
    plain = npz(settings={"scale": 1.0}).split("train")
    moved = npz(settings={"scale": 1 / 127.5, "offset": -1.0}).split("train")
    some = np.array([3, 0, 5])
    expected = plain.batch(some)[0] * np.float32(1 / 127.5) + np.float32(-1)
    assert np.array_equal(moved.batch(some)[0], expected)
    assert np.array_equal(moved.batch(some)[1], plain.batch(some)[1])


def test_raw_examples_are_what_is_preprocessed(npz):
    train, positions = npz().split("train"), np.array([5, 0])
    raw = train.raw(positions)
    assert raw.dtype == np.uint8
    assert np.array_equal(train.batch(positions)[0], raw.astype(np.float32) * np.float32(1 / 255))


def test_a_shape_adds_the_channels_that_were_not_stored(npz):
    data = npz(settings={"shape": (4, 4, 1)})
    assert data.spec().shape == (4, 4, 1)
    assert data.split("train").batch(np.arange(2))[0].shape == (2, 4, 4, 1)


def test_splits_that_the_archive_carries_are_kept_as_they_are(npz):
    test, labels = X[:7] ^ 255, Y[:7]
    data = npz(x_test=test, y_test=labels)
    x, y = data.split("test").batch(np.arange(7))
    assert np.array_equal(x, test.astype(np.float32) * np.float32(1 / 255))
    assert np.array_equal(y, labels)
    assert len(data.split("train")) + len(data.split("validation")) + len(data.split("calibration")) == 60


def test_labels_may_stand_in_a_column_and_have_names(npz):
    data = npz(y_train=Y[:, None].astype(np.uint8), settings={"labels": ("a", "b", "c", "unseen")})
    assert data.spec().labels == ("a", "b", "c", "unseen")
    assert data.split("train").batch(np.arange(3))[1].shape == (3,)


def test_the_fingerprint_is_of_the_content_and_not_of_the_path(npz, tmp_path):
    first = npz().fingerprint()
    (tmp_path / "data.npz").rename(tmp_path / "moved.npz")
    moved = Npz(source="npz", path=tmp_path / "moved.npz")
    assert moved.fingerprint() == first
    assert "path" not in moved.identity()["settings"]
    assert npz(y_train=Y[::-1]).fingerprint() != first
    assert Digits().fingerprint() == Digits(split_seed=3).fingerprint()


def fault(source):
    with pytest.raises(InputError) as caught:
        print(source.fingerprint(), source.spec())
    (found,) = caught.value.faults
    assert found.where.startswith(str(source.path))
    assert str(found).count("\n") <= 1
    return f"{found.where.rpartition('data.npz')[2]}{found}".replace("\n    ", "; ").replace(found.where, "", 1)


NAN = np.where(np.arange(60)[:, None, None] == 7, np.nan, X)
INFINITE = np.where(np.arange(60)[:, None, None] == 9, np.inf, X).astype(np.float32)
LATE = np.where(np.arange(60) == 5, 3, Y)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"x_train": X[:, 0, 0]}, "examples must be an array (N, ...) of numbers (received uint8 (60,))"),
        ({"x_train": np.uint8(3)}, "examples must be an array (N, ...) of numbers (received uint8 ())"),
        ({"x_train": X.astype(str)}, "examples must be an array (N, ...) of numbers (received <U3 (60, 4, 4))"),
        ({"x_train": X + 1j}, "examples must be an array (N, ...) of numbers (received complex128 (60, 4, 4))"),
        ({"x_train": X[:0], "y_train": Y[:0]}, "must hold at least one example, with one value or more (received (0"),
        ({"x_train": X[:, :0]}, "must hold at least one example, with one value or more (received (60, 0, 4))"),
        ({"x_train": NAN}, "examples must be finite in float32 (received NaN, infinity or more in example 7)"),
        ({"x_train": INFINITE}, "examples must be finite in float32 (received NaN, infinity or more in example 9)"),
        ({"x_train": X * 1e300}, "examples must be finite in float32 (received NaN, infinity or more in example 0)"),
        ({"y_train": Y[:-1]}, "examples and labels must be equally many (received 60 examples, 59 labels)"),
        ({"y_train": Y.astype(float)}, "of integers (received float64 (60,)); use whole numbers from 0"),
        ({"y_train": Y.astype(str)}, "of integers (received <U21 (60,)); use whole numbers from 0"),
        ({"y_train": np.eye(3, dtype=int)[Y]}, "of integers (received int64 (60, 3)); use y.argmax(axis=1)"),
        ({"y_train": Y - 1}, "labels must be from 0 to the number of classes less one (received -1 at position 0)"),
        ({"y_train": Y + 1}, "each from 0 to the highest (received no example of 0); number the labels from 0"),
        ({"y_train": Y * 10**6}, "an example of each from 0 to the highest (received no example of 1)"),
        ({"y_train": np.full(60, 2**64 - 1, np.uint64)}, "labels must be from 0 to the number of classes less one"),
        ({"y_train": Y * 0}, "there must be two labels or more, and an example of each"),
        ({"y_train": LATE, "settings": {"labels": ("a", "b", "c")}}, "0 to 2, for 3 labels (received 3 at position 5)"),
        ({"x_train": X[:4], "y_train": Y[:4]}, "is too small to cut a validation split from (received 4 examples)"),
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit_are_told_with_their_split(npz, changes, rule):
    text = fault(npz(**changes))
    assert ": train: " in f"{text}: " or text.startswith(": train")
    assert rule in text


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"x_test": X[:, :3], "y_test": Y}, "test: examples must be uint8 (4, 4), as in train (received uint8 (3, 4))"),
        (
            {"x_test": X / 255, "y_test": Y},
            "examples must be uint8 (4, 4), as in train (received float64 (4, 4))",
        ),
        ({"x_test": X, "y_test": Y - 1}, "test: labels must be from 0"),
        ({"settings": {"shape": (4, 5)}}, "examples must have 20 values, for shape [4, 5] (received (4, 4))"),
        ({"x_test": X}, "must hold y_test (received x_test, x_train, y_train)"),
        ({"y_validation": Y}, "must hold x_validation (received x_train, y_train, y_validation)"),
        ({"arrays": {"x_train": X}}, "must hold y_train (received x_train)"),
        ({"arrays": {}}, "must hold x_train and y_train (received nothing)"),
        ({"arrays": {"x_trian": X, "y_train": Y}}, "does not know (received x_trian); did you mean 'x_train'?"),
        ({"x_val": X, "y_val": Y}, "does not know (received x_val); known: "),
        ({"y_train": np.array([0, "a", None] * 20, object)}, "is no readable .npz archive of plain arrays"),
    ],
)
def test_archives_that_do_not_fit_are_told_with_what_they_hold(npz, changes, rule):
    assert rule in fault(npz(**changes))


class Bomb:
    """Leaves a mark when it is unpickled."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('a pickle ran code')",))


def garbage(path):
    path.write_text("hello")


def pickled(path):
    path.write_bytes(pickle.dumps(Bomb()))


def single(path):
    with path.open("wb") as file:
        np.save(file, X)


def truncated(path):
    np.savez(path, x_train=X, y_train=Y)
    path.write_bytes(path.read_bytes()[:-100])


def other_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x_train", b"no array")
        archive.writestr("y_train.npy", b"\x93NUMPY\x01\x00")


def object_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("x_train.npy", "y_train.npy"):
            archive.writestr(name, pickle.dumps(Bomb()))


def damaged(path):
    np.savez_compressed(path, x_train=X, y_train=Y)
    content = bytearray(path.read_bytes())
    content[200:400] = bytes(200)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda path: None, "the data file can't be read (received No such file or directory)"),
        (lambda path: path.mkdir(), "the data file can't be read (received a folder, and no file)"),
        (lambda path: path.touch(), "must be an .npz archive"),
        (garbage, "must be an .npz archive"),
        (pickled, "must be an .npz archive"),
        (single, "(received what is no zip archive, or was cut short); save it with numpy.savez"),
        (truncated, "must be an .npz archive (received what is no zip archive, or was cut short)"),
        (other_zip, "x_train must be an array"),
        (object_zip, "must be an array"),
        (damaged, "is no readable .npz archive of plain arrays"),
    ],
)  # fmt: skip
def test_files_that_are_no_archive_are_told_as_such_and_run_no_code(tmp_path, make, rule):
    make(tmp_path / "data.npz")
    assert rule in fault(Npz(source="npz", path=tmp_path / "data.npz"))


def test_no_damage_to_any_byte_is_more_than_an_input_error(tmp_path):
    path = tmp_path / "data.npz"
    np.savez_compressed(path, x_train=X, y_train=Y)
    content = path.read_bytes()
    for i in range(0, len(content), 7):
        path.write_bytes(content[:i] + bytes([content[i] ^ 0x55]) + content[i + 1 :])
        with suppress(InputError):
            Npz(source="npz", path=path).spec()


def test_an_archive_that_unpacks_to_more_than_its_size_explains_is_not_unpacked(npz, monkeypatch):
    monkeypatch.setattr(archive, "_SMALL", 1000)
    source = npz({"x_train": np.zeros((60, 100, 100)), "y_train": Y}, save=np.savez_compressed)
    with pytest.raises(InputError, match=r"unpacks from .* KiB to 4\.58 MiB, more than 200:1"):
        source.spec()


def test_an_archive_larger_than_the_memory_is_not_unpacked(npz, monkeypatch):
    monkeypatch.setattr(archive, "memory", lambda: 1000)
    with pytest.raises(InputError, match=r"unpacks to .*, more than 1000 B"):
        npz().spec()


@pytest.mark.parametrize(
    "x",
    [
        RANDOM.integers(2**63, 2**63 + 9999, (60, 4), dtype=np.uint64),
        1.7e9 + RANDOM.random((60, 4)),
    ],
)
def test_numbers_that_float32_can_not_tell_apart_are_refused(npz, x):
    with pytest.raises(InputError, match="must differ by more than float32 can tell"):
        npz(x_train=x).spec()


def test_a_device_in_place_of_an_archive_is_not_read(tmp_path):
    (tmp_path / "data.npz").symlink_to("/dev/zero")
    source = Npz(source="npz", path=tmp_path / "data.npz")
    for read in (source.fingerprint, source.spec):
        with pytest.raises(InputError, match="a device, and no file"):
            read()


def test_a_test_set_alone_is_enough_for_verification_and_not_for_training(npz):
    data = npz({"x_test": X, "y_test": Y})
    with pytest.raises(InputError, match="must hold x_train and y_train"):
        data.spec()
    tested = data.for_tests()
    assert tested.spec().labels == ("0", "1", "2")
    assert len(tested.split("test")) == 60
    assert tested.contract().range == (float(X.min()), float(X.max()))
    with pytest.raises(InputError, match="must hold y_test"):
        npz({"x_test": X}).for_tests().spec()
    assert len(npz().for_tests().split("test")) == len(npz().split("test"))
