"""Stages that run by themselves, each in a child process, on a small network and the digits."""

import json
from pathlib import Path

import h5py
import pytest

from pipeline import tflite
from pipeline.core import processes
from pipeline.core.errors import StageError
from pipeline.core.store import Store
from pipeline.data.sources.digits import Digits
from pipeline.engine.executors.inline import Inline
from pipeline.keras.models.small_cnn import SmallCnn
from pipeline.stages.stage import Artifact, Inputs
from pipeline.stages.train import Train

DATA = Digits()
MODEL = SmallCnn(source="small_cnn", filters=4, dropout=0.3)
TRAIN = Train(stage="train", epochs=3, batch_size=128, learning_rate=0.005)


class InterruptedTrainingError(Exception):
    """Stands for a crash right behind an epoch."""


def stage_process(send, stage, upstream, resume, work, data, model, stop_after=None):
    """Run a stage; with `stop_after` it dies behind that epoch, as by a signal."""

    def report(progress):
        if progress.what == "epoch" and not progress.within and not progress.note:
            send(progress.done)
            if progress.done == stop_after:
                raise InterruptedTrainingError

    executor = Inline(data, model, 3, Store(work.parent / "store"))
    stage.run(Inputs(data, model, 3, upstream, resume, report, executor), work)


class Runner:
    """Runs stages in child processes below one folder."""

    def __init__(self, folder, data=DATA, model=MODEL):
        self.folder, self.count, self.data, self.model = folder, 0, data, model

    def __call__(self, stage, *above, interrupt_after=None):
        """The artifact of a stage, interrupted behind an epoch and then resumed when asked."""
        self.count += 1
        base = self.folder / f"{self.count}"
        upstream = {artifact.name: artifact for artifact in above}
        (base / "resume").mkdir(parents=True)
        epochs = []

        def go(work, **options):
            (base / work).mkdir()
            arguments = (stage, upstream, base / "resume", base / work, self.data, self.model)
            processes.call(stage.label, base / "log", epochs.append, stage_process, *arguments, **options)

        if interrupt_after:
            with pytest.raises(StageError, match="InterruptedTrainingError"):
                go("lost", stop_after=interrupt_after)
        go("work")
        assert len(epochs) == len(set(epochs)), "no epoch is trained twice"
        return Artifact(stage.label, "keras", base / "work", above[0] if above else None)


def facts(artifact):
    return json.loads((artifact.path / "facts.json").read_text())


def content(artifact):
    return {path.name: path.read_bytes() for path in Path(artifact.path).iterdir()}


def layers(artifact):
    """The settings of each layer of a saved model."""
    with h5py.File(artifact.path / "model.h5") as file:
        return [layer["config"] for layer in json.loads(file.attrs["model_config"])["config"]["layers"]]


def rows(artifact):
    """What a stage tells of each layer, by the layer's name."""
    return {row["layer"]: row for row in facts(artifact)["layers"]}


def weights(artifact):
    """Stored weights by Keras layer."""
    model = tflite.read(artifact.path / "model.tflite")
    return {model.layers_of(op)[0]: tensor for op in model.ops for tensor in op.weights}
