"""Pictures in folders: splits, decoding, what is broken, and the file of decoded examples."""

import io

import numpy as np
import pytest
from PIL import Image

from pipeline.core.errors import InputError
from pipeline.data import decoded
from pipeline.data.sources.image_folder import ImageFolder

RANDOM = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEPIPE_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


def picture(level, size=(8, 8), mode="RGB"):
    """Noise around a grey level."""
    height, width = size
    bands = len(Image.new(mode, (1, 1)).getbands())
    pixels = RANDOM.normal(level, 8, (height, width, bands)).clip(0, 255).astype(np.uint8)
    return Image.fromarray(pixels.squeeze(), mode if bands > 1 else None)


@pytest.fixture
def folder(tmp_path):
    """40 pictures of each of two classes, of four people, in files of several formats."""
    for label, level in (("dark", 60), ("light", 190)):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for i in range(40):
            suffix = ("png", "jpg", "bmp", "webp", "gif")[i % 5]
            picture(level, (9 + i % 3, 12)).save(tmp_path / "photos" / label / f"p{i % 8}_{i:02d}.{suffix}")
    return tmp_path / "photos"


def source(path, **settings):
    return ImageFolder(source="image_folder", path=path, **{"size": (8, 8)} | settings)


def everything(data, split):
    examples = data.split(split)
    return examples.batch(np.arange(len(examples)))


def faults(path, **settings):
    with pytest.raises(InputError) as caught:
        source(path, **settings).spec()
    return [str(fault) for fault in caught.value.faults]


def test_class_folders_become_labelled_splits(folder):
    data = source(folder)
    assert data.spec().labels == ("dark", "light")
    assert data.spec().shape == (8, 8, 3)
    assert [len(data.split(name)) for name in ("train", "validation", "calibration", "test")] == [48, 8, 8, 16]
    x, y = everything(data, "test")
    assert (x.dtype, x.shape, y.tolist().count(0)) == (np.float32, (16, 8, 8, 3), 8)
    assert ((x.mean(axis=(1, 2, 3)) > 0.5) == y).all()
    assert data.contract().range == (0, 255)
    assert data.contract().channels == "rgb"


def test_split_folders_are_kept_and_the_others_are_cut(folder, tmp_path):
    for label in ("dark", "light"):
        paths = sorted((folder / label).iterdir())
        for split, names in (("train", paths[:30]), ("val", paths[30:34]), ("test", paths[34:])):
            (tmp_path / "sorted" / split / label).mkdir(parents=True)
            for path in names:
                path.rename(tmp_path / "sorted" / split / label / path.name)
    data = source(tmp_path / "sorted")
    assert [len(data.split(name)) for name in ("train", "validation", "calibration", "test")] == [54, 8, 6, 12]


def test_a_group_is_in_one_split(folder):
    data = source(folder, group=r"/(p\d)_")
    people = {
        name: {data.files()[i].group for i in data.split(name).positions} for name in ("train", "validation", "test")
    }
    assert all(people.values())
    assert not people["train"] & people["test"]
    assert not people["train"] & people["validation"]


def test_equal_pictures_are_in_one_split(folder):
    for i in range(20):
        (folder / "dark" / f"copy{i}.png").write_bytes((folder / "dark" / "p0_00.png").read_bytes())
    data = source(folder)
    of_split = [{row.tobytes() for row in everything(data, name)[0]} for name in ("train", "validation", "test")]
    assert not of_split[0] & of_split[2]
    assert not of_split[0] & of_split[1]


def test_a_table_gives_labels_splits_and_groups(folder):
    rows = [f"{path.relative_to(folder)};{path.parent.name.upper()};" for path in sorted(folder.rglob("*.*"))]
    rows[:6] = [f"{row}test" for row in rows[:6]]
    rows[-6:] = [f"{row}test" for row in rows[-6:]]
    (folder / "labels.csv").write_text("path;label;split\n" + "\n".join(rows))
    data = source(folder, table="labels.csv")
    assert data.spec().labels == ("DARK", "LIGHT")
    assert len(data.split("test")) == 12


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("path,label\nnone.png,a\ndark/p0_00.png,b\n", "names 1 of 2 files that are not there"),
        ("path,class\ndark/p0_00.png,a\n", "has no column 'label'"),
        ("path,label\n../x.png,a\n", "labels.csv:2: a path must lie inside of the folder"),
        ("path,label,split\ndark/p0_00.png,a,tset\n", "split: there is no such split"),
        ("path,label\ndark/p0_00.png,a,b\n", "labels.csv:2: must have 2 values in each line"),
        ("path,label\n", "must hold lines below the names"),
        ("path,label\ndark/p0_00.png,a\n", "must hold two classes or more"),
    ],
)
def test_a_table_that_does_not_fit_is_told_with_its_line(folder, text, told):
    (folder / "labels.csv").write_text(text)
    assert told in faults(folder, table="labels.csv")[0]


def test_proportions_are_cropped_padded_or_stretched(tmp_path):
    wide = np.zeros((4, 8, 3), np.uint8)
    wide[:, :2] = 255
    Image.fromarray(wide).save(tmp_path / "wide.png")
    found = {how: source(tmp_path, size=(4, 4), resize=how).decode(tmp_path / "wide.png")[:, :, 0] for how in
             ("crop", "pad", "stretch")}  # fmt: skip
    assert found["crop"].max() == 0
    assert found["pad"][0].max() == found["pad"][-1].max() == 0
    assert found["stretch"][:, 0].min() > 200


def test_every_mode_becomes_eight_bits_in_the_channels_that_are_asked_for(tmp_path):
    deep = np.full((8, 8), 0x8000, np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "red.jpg")
    Image.new("RGBA", (8, 8), (255, 255, 255, 0)).save(tmp_path / "clear.png")
    Image.new("1", (8, 8), 1).save(tmp_path / "bits.png")
    colour = source(tmp_path)
    assert (colour.decode(tmp_path / "deep.png") == 128).all()
    assert colour.decode(tmp_path / "red.jpg")[0, 0].argmax() == 0
    assert colour.decode(tmp_path / "clear.png").max() == 0
    assert colour.decode(tmp_path / "bits.png").min() == 255
    assert source(tmp_path, channels="bgr").decode(tmp_path / "red.jpg")[0, 0].argmax() == 2
    assert source(tmp_path, channels="grey").decode(tmp_path / "deep.png").shape == (8, 8, 1)


def test_a_picture_is_turned_as_its_camera_was(tmp_path):
    upright = Image.new("RGB", (8, 8))
    upright.putpixel((0, 0), (255, 255, 255))
    turned = Image.Exif()
    turned[0x0112] = 3  # by 180 degrees
    upright.save(tmp_path / "turned.png", exif=turned)
    assert source(tmp_path).decode(tmp_path / "turned.png")[-1, -1, 0] == 255


def test_broken_files_are_counted_by_reason_and_named(folder):
    whole = (folder / "dark" / "p0_00.png").read_bytes()
    (folder / "dark" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "dark" / "notes.txt").write_text("not a picture")
    (folder / "light" / "empty.jpg").write_bytes(b"")
    (folder / "light" / "zero.png").symlink_to("/dev/zero")
    (folder / "light" / ".DS_Store").write_bytes(b"hidden")
    (folder / "light" / "Thumbs.db").write_bytes(b"of a file manager")
    told = {line.partition("photos: ")[2].partition(chr(10))[0] for line in faults(folder)}
    assert told == {
        "1 of 84 files: is no PNG, JPEG, BMP, WebP or GIF picture (received dark/notes.txt)",
        "1 of 84 files: is damaged or cut short (received dark/cut.png)",
        "1 of 84 files: is empty (received light/empty.jpg)",
        "1 of 84 files: can't be read: a device, and no file (received light/zero.png)",
    }
    data = source(folder, on_error="skip")
    assert sum(len(data.split(name)) for name in ("train", "validation", "calibration", "test")) == 80
    assert data.broken.keys() == {"dark/cut.png", "dark/notes.txt", "light/empty.jpg", "light/zero.png"}
    assert "raise `most_skipped`" in faults(folder, on_error="skip", most_skipped=0.01)[0]


def test_a_picture_of_absurd_size_is_not_decoded(folder):
    with io.BytesIO() as out:
        Image.new("1", (20_000, 20_000)).save(out, "PNG")
        (folder / "dark" / "bomb.png").write_bytes(out.getvalue())
    assert "1 of 81 files: has more than 100,000,000 pixels (received dark/bomb.png)" in faults(folder)[0]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda folder: None, "must be a folder (received nothing)"),
        (lambda folder: folder.write_text(""), "must be a folder (received a file)"),
        (lambda folder: folder.mkdir(), "must hold two classes or more (received none)"),
        (lambda folder: (folder / "a").mkdir(parents=True), "holds no file of its class"),
        (
            lambda folder: (folder.mkdir(), (folder / "x.png").write_text("")),
            "and no file beside them (received x.png)",
        ),
    ],
)
def test_a_folder_without_classes_is_told_as_such(tmp_path, make, told):
    make(tmp_path / "photos")
    assert told in faults(tmp_path / "photos")[0]


def test_labels_may_be_in_another_order_and_must_be_complete(folder):
    assert source(folder, labels=("light", "dark")).spec().labels == ("light", "dark")
    assert "`labels:` must name every class (received no dark)" in faults(folder, labels=("light", "x"))[0]


def test_a_group_that_is_not_found_is_told_with_the_path(folder):
    assert "received dark/p0_00.png" in faults(folder, group="^(x)")[0]


def test_the_fingerprint_is_of_names_labels_and_content(folder, tmp_path):
    before = source(folder).fingerprint()
    assert source(folder).fingerprint() == before
    folder.rename(tmp_path / "moved")
    assert source(tmp_path / "moved").fingerprint() == before
    picture(60).save(tmp_path / "moved" / "dark" / "p0_00.png")
    assert source(tmp_path / "moved").fingerprint() != before


def test_positions_are_among_all_files(folder):
    data = source(folder)
    of, positions = data.positions("test")
    names = [data.files()[place].label for place in positions]
    assert of == "files"
    assert names == [data.spec().labels[label] for label in everything(data, "test")[1]]


def test_files_are_decoded_once_and_damaged_rows_are_mended(folder, store, monkeypatch):
    data = source(folder)
    x, _ = everything(data, "train")
    before = data.split("train").sha256
    (rows,) = (store / "v1" / "decoded").glob("*.rows")
    content = bytearray(rows.read_bytes())
    content[1000:1400] = bytes(400)
    rows.write_bytes(content)
    again = source(folder)
    np.testing.assert_array_equal(everything(again, "train")[0], x)
    assert again.split("train").sha256 == before
    everything(again, "test"), everything(again, "validation"), everything(again, "calibration")
    monkeypatch.setattr(ImageFolder, "decode", lambda *_: pytest.fail("it is decoded already"))
    np.testing.assert_array_equal(everything(source(folder), "train")[0], x)


def test_an_interrupted_decoding_leaves_nothing_that_is_taken_for_whole(folder, store, monkeypatch):
    def interrupted(self, path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ImageFolder, "decode", interrupted)
        with pytest.raises(KeyboardInterrupt):
            source(folder).spec()
    assert not [path for path in decoded.folder().iterdir() if path.suffix != ".lock"]
    assert len(source(folder).split("train")) == 48
