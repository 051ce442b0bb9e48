"""Tables and recordings in CSV files: rows, windows, groups, rates, and every way in which a file can be wrong."""

import numpy as np
import pytest

from pipeline.core.errors import InputError
from pipeline.data.sources.csv import Csv

RANDOM = np.random.default_rng(0)


def lines(count=600, people=6):
    """Rows of two activities in stretches of 50, by people in turn: time, person, ax, ay, activity."""
    rows = ["time;person; ax;ay;activity"]
    for i in range(count):
        walks = i // 50 % 2
        person = i * people // count
        rows.append(f"{i * 0.02:.2f};p{person};{RANDOM.normal(walks, 0.1):.4f};{i};{'walk' if walks else 'rest'}")
    return rows


@pytest.fixture
def csv(tmp_path):
    """A source over a file of these lines."""

    def source(rows=None, name="sensor.csv", path=None, **settings):
        text = "\n".join(lines() if rows is None else rows)
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        given = {"columns": ("ax", "ay"), "label": "activity"} | settings
        return Csv(source="csv", path=path or tmp_path / name, **given)

    return source


def fault(data):
    with pytest.raises(InputError) as caught:
        data.spec()
    return " | ".join(str(fault) for fault in caught.value.faults)


def rows_of(data, split):
    """The numbers of the rows that a split holds; column ay counts them."""
    examples = data.split(split)
    return set(examples.raw(np.arange(len(examples)))[..., 1].astype(int).ravel().tolist())


def test_a_row_is_an_example(csv):
    data = csv()
    assert data.spec().shape == (2,)
    assert data.spec().labels == ("rest", "walk")
    x, y = data.split("train").batch(np.arange(100))
    assert ((x[:, 0] > 0.5) == y).all()


def test_windows_of_two_splits_share_no_row(csv):
    data = csv(window=10, stride=5)
    assert data.spec().shape == (10, 2)
    of_split = [rows_of(data, name) for name in ("train", "validation", "calibration", "test")]
    assert all(of_split)
    assert sum(map(len, of_split)) == len(set.union(*of_split))


def test_a_window_has_the_values_and_the_label_of_its_rows(csv):
    data = csv(window=50)
    examples = data.split("train")
    for raw, y in zip(examples.raw(np.arange(len(examples))), examples.y, strict=True):
        start = int(raw[0, 1])
        assert raw[:, 1].tolist() == list(range(start, start + 50))
        assert y == start // 50 % 2


@pytest.mark.parametrize(("label_of", "count"), [("majority", 600 // 30), ("last", 600 // 30), ("all", 12)])
def test_windows_over_a_change_take_the_most_frequent_or_the_last_label_or_are_left_out(csv, label_of, count):
    data = csv(window=30, label_of=label_of, splits={"validation": 0.25, "calibration": 0.25, "test": 0.25})
    x, y = data.arrays()["train"]
    assert len(x) == count
    ends = x[:, -1, 1].astype(int)
    if label_of == "last":
        assert (y == ends // 50 % 2).all()
    if label_of == "all":
        assert (y == ends // 50 % 2).all()
        assert (y == x[:, 0, 1].astype(int) // 50 % 2).all()


def test_a_person_is_in_one_split_and_no_window_reaches_from_one_to_the_next(csv):
    data = csv(window=20, group="person", splits={"validation": 0.2, "calibration": 0.2, "test": 0.2})
    people = [{row // 100 for row in rows_of(data, name)} for name in ("train", "validation", "calibration", "test")]
    assert sum(map(len, people)) == len(set.union(*people)) == 6
    x, _ = data.arrays()["train"]
    assert (x[:, 0, 1] // 100 == x[:, -1, 1] // 100).all()


def test_several_files_are_recordings_of_their_own(csv, tmp_path):
    (tmp_path / "day").mkdir()
    for i in range(10):
        (tmp_path / "day" / f"{i}.csv").write_text("\n".join(lines(100, 1)))
    (tmp_path / "day" / "notes.txt").write_text("not read")
    data = csv(window=20, path=tmp_path / "day")
    assert len(data.arrays()["train"][0]) == 50
    assert len(data.split("train")) == 30


def test_a_recording_is_brought_to_a_rate_and_a_pause_is_no_window(csv):
    rows = lines()
    del rows[301:401]  # two seconds
    data = csv(rows, window=25, time="time", rate=25.0)
    x, _ = data.arrays()["train"]
    assert np.allclose(np.diff(x[:, :, 1], axis=1), 2, atol=1e-3)
    assert not ((x[:, 0, 1] < 300) & (x[:, -1, 1] > 400)).any()


def test_columns_are_predicted_in_place_of_a_class(csv):
    data = csv(label=None, targets=("ax",), columns=("ay",), labels=("acceleration",))
    assert data.spec().task.name == "regression"
    assert data.spec().labels == ("acceleration",)


def test_classes_that_are_numbers_are_in_the_order_of_numbers(csv):
    rows = ["ax;ay;activity", *(f"{i};{i};{(2, 10, 1)[i % 3]}" for i in range(90))]
    assert csv(rows).spec().labels == ("1", "2", "10")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: ["time,ax,activity", "0,1,a"], "sensor.csv:1: has no column 'ay'"),
        (lambda rows: rows[:1], "must hold lines below the names of its columns"),
        (lambda rows: [*rows[:9], "0;p;x;1;rest", *rows[9:]], "10: ax: must be a finite number (received x, and 1"),
        (lambda rows: [*rows[:9], "0;p;;1;rest", *rows[9:]], "10: ax: must be a finite number (received nothing"),
        (lambda rows: [*rows[:9], "0;p;nan;1;rest", *rows[9:]], "sensor.csv:10: ax: must be a finite number"),
        (lambda rows: [*rows[:9], "0;p;1;rest", *rows[9:]], "sensor.csv:10: must have 5 values in each line"),
        (lambda rows: [*rows[:9], "0;p;1;1;", *rows[9:]], "sensor.csv:10: activity: must name a class"),
        (lambda rows: [r.replace("walk", "rest") for r in rows], "two classes or more (received rest alone)"),
        (lambda rows: rows[:1] + rows[48:54], "is too small to cut"),
    ],
)  # fmt: skip
def test_a_file_that_does_not_fit_is_told_with_its_line(csv, change, told):
    assert told in fault(csv(change(lines())))


def test_text_in_another_encoding_is_told_as_such(csv, tmp_path):
    data = csv()
    data.path.write_bytes("ax;ay;activity\n1;2;ging zu Fuß\n".encode("latin-1"))
    assert "must be UTF-8 text" in fault(data)


def test_windows_longer_than_the_recording_are_told(csv):
    assert "must hold 900 rows in a row for a window (received 600 at most)" in fault(csv(window=900))


def test_times_that_go_back_are_told_with_their_line(csv):
    rows = lines()
    rows[5], rows[6] = rows[6], rows[5]
    assert "sensor.csv:7: times must increase" in fault(csv(rows, window=20, time="time", rate=50.0))


def test_lines_are_counted_as_an_editor_counts_them(csv):
    rows = lines()
    rows[5:5] = ["", ""]
    rows[20] = rows[20].replace("rest", '"re\nst"')
    rows[30:31] = ["0;p;x;1;rest"]
    assert "sensor.csv:32: ax: must be a finite number" in fault(csv(rows))


def test_the_fingerprint_of_a_file_is_of_its_content_and_not_of_its_name(csv):
    rows = lines()
    before = csv(rows).fingerprint()
    assert csv(rows, name="other.csv").fingerprint() == before
    assert csv(rows[:-1], name="other.csv").fingerprint() != before


def test_labels_must_name_every_class(csv):
    assert "`labels:` must name every class (received no walk)" in fault(csv(labels=("rest", "run")))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"label": None}, "label: name one column of classes"),
        ({"targets": ("ax",)}, "label: name one column of classes"),
        ({"stride": 3}, "stride: is for windows"),
        ({"rate": 3.0}, "rate: needs `time:`"),
    ],
)
def test_settings_that_do_not_fit_together_are_told(csv, settings, told):
    with pytest.raises(ValueError, match=told):
        csv(**settings)
