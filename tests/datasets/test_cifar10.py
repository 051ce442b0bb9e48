"""datasets/cifar10/prepare.py, on a small archive behind an HTTP server of this machine."""

import hashlib
import importlib.util
import io
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from tests import ROOT

SCRIPT = ROOT / "datasets" / "cifar10" / "prepare.py"
FILES = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
COUNT = 3  # images in each file


@pytest.fixture(scope="module")
def prepare():
    spec = importlib.util.spec_from_file_location("prepare", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def records(seed):
    """Images (n, 32, 32, 3) and labels (n,), and the bytes that the format makes of them."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (COUNT, 32, 32, 3), np.uint8)
    y = rng.integers(0, 10, COUNT, np.uint8)
    images = (
        b"".join(
            bytes([image[row, column, channel]]) for channel in range(3) for row in range(32) for column in range(32)
        )
        for image in x
    )
    return x, y, b"".join(bytes([label]) + image for label, image in zip(y, images, strict=True))


def pack(path, contents):
    """A .tar.gz of files; its sha256."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in contents.items():
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def good():
    return {name: records(seed)[2] for seed, name in enumerate(FILES)}


@pytest.fixture
def served(tmp_path, monkeypatch):
    """The address of a server of the folder."""
    monkeypatch.setenv("no_proxy", "*")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_archive_is_downloaded_and_becomes_arrays_in_the_official_order(prepare, served, good, tmp_path):
    sha256, out = pack(tmp_path / "small.tar.gz", good), tmp_path / "made" / "cifar10.npz"
    assert prepare.main([str(out), "--url", f"{served}/small.tar.gz", "--sha256", sha256]) == 0
    with np.load(out) as made:
        for split, seeds in (("train", range(5)), ("test", [5])):
            np.testing.assert_array_equal(made[f"x_{split}"], np.concatenate([records(seed)[0] for seed in seeds]))
            np.testing.assert_array_equal(made[f"y_{split}"], np.concatenate([records(seed)[1] for seed in seeds]))
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    again = tmp_path / "again.npz"
    assert prepare.main([str(again), "--from", str(tmp_path / "small.tar.gz"), "--sha256", sha256]) == 0
    assert again.read_bytes() == out.read_bytes()


def test_what_is_not_the_archive_is_refused_and_leaves_nothing(prepare, served, good, tmp_path, capsys):
    sha256, out = pack(tmp_path / "small.tar.gz", good), tmp_path / "made" / "cifar10.npz"
    (tmp_path / "text.tar.gz").write_text("no archive")
    text = hashlib.sha256(b"no archive").hexdigest()
    lacking = pack(tmp_path / "lacking.tar.gz", {name: good[name] for name in FILES[:5]})
    cut = pack(tmp_path / "cut.tar.gz", good | {"test_batch.bin": good["test_batch.bin"][:-1]})
    label = pack(tmp_path / "label.tar.gz", good | {"data_batch_2.bin": b"\x0a" + bytes(3072)})
    for file, expected, message in (
        (
            "small.tar.gz",
            "0" * 64,
            f"small.tar.gz: must have the sha256 {'0' * 64} (received {sha256}); fetch it again",
        ),
        ("none.tar.gz", sha256, "none.tar.gz: can't be downloaded (received File not found); download it"),
        ("text.tar.gz", text, "must be a .tar.gz archive"),
        (
            "lacking.tar.gz",
            lacking,
            "must hold cifar-10-batches-bin/test_batch.bin (received cifar-10-batches-bin/data",
        ),
        ("cut.tar.gz", cut, "cifar-10-batches-bin/test_batch.bin must be records of 3073 bytes (received 9218 bytes)"),
        ("label.tar.gz", label, "labels in cifar-10-batches-bin/data_batch_2.bin must be 0 to 9 (received 10)"),
    ):
        assert prepare.main([str(out), "--url", f"{served}/{file}", "--sha256", expected]) == 3
        assert message in capsys.readouterr().err
        assert list(out.parent.iterdir()) == []
    assert prepare.main([str(out), "--from", str(tmp_path / "none"), "--sha256", sha256]) == 3
    assert "none: No such file or directory" in capsys.readouterr().err
