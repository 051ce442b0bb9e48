"""The content-addressed store: atomic, checked, and safe to share."""

import errno
import json
import multiprocessing
import shutil
import signal
import time
from pathlib import Path

import pytest

from pipeline.core.errors import StoreError
from pipeline.core.store import Store, key_of

IDENTITY = {"what": "a thing", "settings": {"a": 1}}
KEY = key_of(IDENTITY)
PROCESSES = multiprocessing.get_context("spawn")  # a fork of a process with threads is a warning


def fill(work):
    (work / "model.bin").write_bytes(b"12345")
    (work / "deep").mkdir()
    (work / "deep" / "facts.json").write_text("{}")


@pytest.fixture
def store(tmp_path):
    lines = []
    store = Store(tmp_path / "store", lines.append)
    store.lines = lines
    return store


@pytest.fixture
def entry(store):
    return store.put(KEY, "train", IDENTITY, fill)


def leftovers(store):
    return [path for name in ("building", "partial") for path in (store.root / "v1" / name).glob("*")]


def test_an_entry_comes_back_as_it_was_put(store, entry):
    assert store.get(KEY) == entry
    assert (entry.path / "model.bin").read_bytes() == b"12345"
    assert (entry.key, entry.stage, entry.identity, entry.bytes) == (KEY, "train", IDENTITY, 7)
    assert sorted(entry.files) == ["deep/facts.json", "model.bin"]
    assert not leftovers(store)


def test_a_key_that_was_never_put_is_a_miss_and_makes_nothing(store):
    assert store.get(KEY) is None
    assert list(store.entries()) == []
    assert store.clear() == (0, 0)
    assert not store.root.exists()


def test_keys_do_not_depend_on_the_order_of_settings():
    assert key_of({"a": 1, "b": {"c": 2, "d": 3}}) == key_of({"b": {"d": 3, "c": 2}, "a": 1})
    assert key_of({"a": 1}) != key_of({"a": "1"})


def edit_manifest(path, **changes):
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | changes))


FILE = {"sha256": "0", "bytes": 1}
DAMAGES = {
    "changed byte": lambda path: (path / "model.bin").write_bytes(b"12346"),
    "cut short": lambda path: (path / "model.bin").write_bytes(b""),
    "missing file": lambda path: (path / "deep" / "facts.json").unlink(),
    "a folder for a file": lambda path: ((path / "model.bin").unlink(), (path / "model.bin").mkdir()),
    "no manifest": lambda path: (path / "manifest.json").unlink(),
    "empty manifest": lambda path: (path / "manifest.json").write_text(""),
    "half a manifest": lambda path: (path / "manifest.json").write_text('{"files": {'),
    "binary manifest": lambda path: (path / "manifest.json").write_bytes(b"\xff\xfe"),
    "a list for a manifest": lambda path: (path / "manifest.json").write_text("[]"),
    "another identity": lambda path: edit_manifest(path, identity={}),
    "a path out of the entry": lambda path: edit_manifest(path, files={"../../x": FILE}),
    "an absolute path": lambda path: edit_manifest(path, files={"/etc/passwd": FILE}),
    "files without facts": lambda path: edit_manifest(path, files={"model.bin": None}),
    "a time that is none": lambda path: edit_manifest(path, created="yesterday"),
    "a stray file for the entry": lambda path: (shutil.rmtree(path), path.write_text("x")),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damage_is_a_miss_that_is_made_again(store, entry, damage):
    damage(entry.path)
    assert store.get(KEY) is None
    assert list(store.entries()) == [] or all("is damaged" in line for line in store.lines)
    again = store.put(KEY, "train", IDENTITY, fill)
    assert store.get(KEY) == again
    assert again.files == entry.files
    assert not leftovers(store)


def test_damage_is_told(store, entry):
    DAMAGES["changed byte"](entry.path)
    store.get(KEY)
    DAMAGES["half a manifest"](entry.path)
    store.get(KEY)
    assert store.lines == [
        f"store: {KEY[:12]}/model.bin is damaged; it will be made again",
        f"store: the manifest of {KEY[:12]} is damaged; it will be made again",
    ]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failed_fill_leaves_nothing(store, error):
    def fails(work):
        fill(work)
        raise error

    with pytest.raises(error):
        store.put(KEY, "train", IDENTITY, fails)
    assert store.get(KEY) is None
    assert not leftovers(store)


def test_no_reader_sees_an_entry_before_it_is_complete(store):
    def looks(work):
        fill(work)
        assert store.get(KEY) is None
        assert list(store.entries()) == []

    assert store.put(KEY, "train", IDENTITY, looks) == store.get(KEY)


def test_putting_what_is_there_keeps_the_first(store, entry):
    again = store.put(KEY, "train", IDENTITY, lambda work: (work / "model.bin").write_bytes(b"other"))
    assert again == entry


def test_a_moved_store_still_works(store, entry, tmp_path):
    store.root.rename(tmp_path / "moved")
    moved = Store(tmp_path / "moved").get(KEY)
    assert moved.files == entry.files
    assert moved.path == tmp_path / "moved" / "v1" / "entries" / KEY


def test_what_an_interrupted_stage_keeps_survives_until_it_is_finished(store):
    (store.partial(KEY) / "epoch-1").write_text("x")
    assert (Store(store.root).partial(KEY) / "epoch-1").exists()
    store.finish(KEY)
    store.finish(KEY)
    assert not leftovers(store)


def test_clear_removes_what_is_old_enough(store, entry):
    edit_manifest(entry.path, created=time.time() - 100)
    young = {"what": "young"}
    store.put(key_of(young), "prune", young, fill)
    store.partial("unfinished")
    assert store.clear(older_than=50) == (1, 7)
    assert [found.stage for found in store.entries()] == ["prune"]
    assert leftovers(store)
    assert store.clear() == (1, 7)
    assert list(store.entries()) == []
    assert not leftovers(store)


def test_entries_are_listed_newest_first(store, entry):
    other = {"what": "other"}
    store.put(key_of(other), "prune", other, fill)
    edit_manifest(entry.path, created=time.time() + 100)
    assert [found.stage for found in store.entries()] == ["train", "prune"]


def put_with_others(root, barrier, results):
    def fill_together(work):
        fill(work)
        barrier.wait()

    results.put(sorted(Store(root).put(KEY, "train", IDENTITY, fill_together).files.items()))


def test_two_processes_may_put_one_key_at_once(store):
    barrier, results = PROCESSES.Barrier(2), PROCESSES.Queue()
    pair = [PROCESSES.Process(target=put_with_others, args=(store.root, barrier, results)) for _ in range(2)]
    for process in pair:
        process.start()
    found = [results.get(timeout=60) for _ in pair]
    for process in pair:
        process.join()
    assert found[0] == found[1] == sorted(store.get(KEY).files.items())
    assert not leftovers(store)


def hold(root, connection):
    store = Store(root)
    with store.lock(KEY, lambda: None):
        (store.root / "v1" / "building" / f"{KEY}-begun").mkdir(parents=True)
        connection.send("held")
        connection.recv()


def test_a_lock_is_waited_for_and_freed_when_its_holder_is_killed(store):
    ours, theirs = PROCESSES.Pipe()
    holder = PROCESSES.Process(target=hold, args=(store.root, theirs))
    holder.start()
    assert ours.recv() == "held"
    waited = []

    def waiting():
        waited.append(True)
        holder.kill()

    with store.lock(KEY, waiting):
        assert not leftovers(store)  # what the dead holder had begun
    holder.join()
    assert waited == [True]
    assert holder.exitcode == -signal.SIGKILL


def test_a_free_lock_is_not_waited_for_and_other_keys_are_free(store):
    with store.lock(KEY, pytest.fail), store.lock("other", pytest.fail):
        pass
    with store.lock(KEY, pytest.fail):
        pass


DISK = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EACCES: "choose a directory that you may write to with --store DIR",
    errno.EROFS: "choose a directory that you may write to with --store DIR",
}


@pytest.mark.parametrize("number", DISK)
@pytest.mark.parametrize("call", ["mkdir", "write_text", "rename"])
def test_a_disk_that_says_no_is_one_clear_error(store, monkeypatch, number, call):
    def refuses(path, *args, **kwargs):
        raise OSError(number, "says no", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(Path, call, refuses)
        with pytest.raises(StoreError) as caught:
            store.put(KEY, "train", IDENTITY, lambda work: (work / "f").touch())
    (fault,) = caught.value.faults
    assert fault.rule == "the store can't be written"
    assert fault.received == "says no"
    assert fault.do.startswith(DISK[number])
    assert store.get(KEY) is None
    assert not leftovers(store)


def test_a_file_where_the_store_should_be_is_a_store_error(tmp_path):
    root = tmp_path / "file"
    root.write_text("x")
    store = Store(root)
    for use in (
        lambda: store.put(KEY, "train", IDENTITY, fill),
        lambda: store.partial(KEY),
        lambda: store.lock(KEY, pytest.fail).__enter__(),
    ):
        with pytest.raises(StoreError, match="the store can't be"):
            use()


def test_an_entry_that_can_not_be_read_is_a_store_error(store, entry, monkeypatch):
    def refuses(path, *args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuses)
    with pytest.raises(StoreError, match="the store can't be read"):
        store.get(KEY)
