"""Fixtures that the tests of several rooms share."""

import os
import shutil
import sys

import numpy as np
import pytest
from filelock import FileLock

from pipeline.cli import app
from pipeline.config import config
from pipeline.core import processes
from pipeline.data.sources.npz import Npz
from pipeline.engine.plan import plan
from pipeline.verify.interpreters import litert
from tests.support import net_models, tflite_models
from tests.support.contracts import RGB
from tests.support.foreign_models import NAMES as FOREIGN
from tests.support.foreign_models import build as foreign_models_of
from tests.support.pipelines import CONFIG, HEAD, Pipeline

# Fixtures that train, convert or start TensorFlow: a test with one of them, or with what is made of one, is slow.
SLOW = {"in_child", "pipeline", "runner"}


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items):
    for item in items:
        if SLOW & set(item.fixturenames):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session", autouse=True)
def _server(request):
    """One fork server for all that a session starts, with TensorFlow in memory where a test needs it."""
    slow = any(item.get_closest_marker("slow") for item in request.session.items)
    processes.start_server(None, processes.TENSORFLOW if slow else ())


@pytest.fixture(scope="session")
def in_child(tmp_path_factory):
    """What a function sends, from a process that may import TensorFlow."""
    log = tmp_path_factory.mktemp("child") / "log"

    def call(function, *arguments):
        found = []
        processes.call(function.__name__, log, found.append, function, *arguments)
        return found

    return call


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """A folder that ``once(name, fill)`` fills for all workers of pytest-xdist, by ``fill(folder)`` in one of them."""
    own = tmp_path_factory.getbasetemp()
    base = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    def filled(name, fill):
        folder, done = base / name, base / f"{name}.done"
        with FileLock(base / f"{name}.lock"):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed
                folder.mkdir()
                fill(folder)
                done.touch()
        return folder

    return filled


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory):
    """Makes a Pipeline: a config in a folder of its own, to be run."""

    def make(config=CONFIG):
        return Pipeline(tmp_path_factory.mktemp("pipeline"), config)

    return make


@pytest.fixture(scope="session")
def cold(once, pipeline):
    """The tiny config, run once in an empty store; `out` and `err` are what it printed. Not to be changed."""

    def run(folder):
        for name, text in zip(("out", "err"), Pipeline(folder).run(), strict=True):
            (folder / name).write_text(text)

    cold = Pipeline(once("cold", run))
    cold.out, cold.err = ((cold.folder / name).read_text() for name in ("out", "err"))
    return cold


@pytest.fixture(scope="session")
def sparser(cold, pipeline):
    """The same with more zeros, over a copy of its store."""
    sparser = cold.share(pipeline())
    sparser.run("--set", "stages.prune.sparsity=0.6")
    return sparser


@pytest.fixture(scope="session")
def models(once, in_child):
    """Tiny .tflite files of every kind: name -> path."""
    folder = once("models", lambda folder: in_child(tflite_models.build, folder))
    return {name: folder / f"{name}.tflite" for name in tflite_models.NAMES}


@pytest.fixture(scope="session")
def foreign_models(once, in_child):
    """Tiny .tflite files as other tools make them: name -> path."""
    folder = once("foreign_models", lambda folder: in_child(foreign_models_of, folder))
    return {name: folder / f"{name}.tflite" for name in FOREIGN}


@pytest.fixture(scope="session")
def images():
    """Examples for `models`, (20, 16, 16, 3) float32 in 0..1."""
    return np.random.default_rng(7).random((20, *tflite_models.SHAPE), dtype=np.float32)


@pytest.fixture(scope="session")
def image_bytes(models, tmp_path_factory):
    """A data source of images as bytes, on which the int8 file, rightly fed, is always right."""
    x = np.random.default_rng(3).integers(0, 256, (120, *tflite_models.SHAPE)).astype(np.uint8)
    x[:, :, 8:, 0] //= 4  # neither turned nor swapped are they the same
    y = litert.run(models["int8"], x.astype(np.float32) / 255).reshape(120, -1).argmax(axis=1)
    path = tmp_path_factory.mktemp("bytes") / "data.npz"
    np.savez(path, x_train=x[:20], y_train=y[:20], x_test=x[20:], y_test=y[20:])
    return Npz(source="npz", path=path, labels=RGB.labels)


@pytest.fixture(scope="session")
def nets(once, in_child):
    """Folder of the nets of MLPerf Tiny: ``resnet8_float32.tflite``, ``resnet8_int8.tflite`` and so on."""
    return once("nets", lambda folder: in_child(net_models.build, folder))


@pytest.fixture
def written(tmp_path):
    """Writes text to tiny.yaml in the test's folder and returns its path."""

    def write(text, name="tiny.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


@pytest.fixture
def planned(written):
    """The steps of a config text, by name, after `--set` overrides; without `name:` it is a list of stages."""

    def steps(text, *overrides):
        path = written(text if "name:" in text.partition("stages:")[0] and "stages:" in text else HEAD + text)
        return {step.name: step for step in plan(*config.load(path, overrides))}

    return steps


@pytest.fixture
def edgepipe(monkeypatch, capsys, tmp_path):
    """Runs one command line in this process, in the test's folder; gives (exit code, standard output, error)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEPIPE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["edgepipe", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            app.main()
        return end.value.code or 0, *capsys.readouterr()

    return run
