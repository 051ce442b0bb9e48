"""Training stages: settings that act, and interruptions that leave no trace in the result."""

import json
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest
from pydantic import ValidationError

from pipeline import tflite
from pipeline.core import processes
from pipeline.core.errors import StageError
from pipeline.core.store import Store
from pipeline.data.sources.diabetes import Diabetes
from pipeline.data.sources.digits import Digits
from pipeline.engine.executors.inline import Inline
from pipeline.keras.models.mlp import Mlp
from pipeline.keras.models.small_cnn import SmallCnn
from pipeline.stages.convert import Convert
from pipeline.stages.prune import Prune
from pipeline.stages.qat import Qat
from pipeline.stages.recalibrate import Recalibrate
from pipeline.stages.stage import Artifact, Inputs
from pipeline.stages.train import Train
from pipeline.verify.interpreters import litert

DATA = Digits()
MODEL = SmallCnn(source="small_cnn", filters=4, dropout=0.3)
TRAIN = Train(stage="train", epochs=3, batch_size=128, learning_rate=0.005)


class InterruptedTrainingError(Exception):
    """Stands for a crash right behind an epoch."""


def stage_process(send, stage, upstream, resume, work, data, model, stop_after=None):
    """Run a stage; with `stop_after` it dies behind that epoch, as by a signal."""

    def report(progress):
        send(progress.done)
        if stop_after and progress.done == stop_after:
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


@pytest.fixture(scope="session")
def runner(tmp_path_factory):
    return Runner(tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="session")
def trained(runner):
    return runner(TRAIN)


@pytest.fixture(scope="session")
def pruned(runner, trained):
    return runner(Prune(stage="prune", sparsity=0.5, epochs=3, batch_size=128, min_weights=100), trained)


def facts(artifact):
    return json.loads((artifact.path / "facts.json").read_text())


def content(artifact):
    return {path.name: path.read_bytes() for path in Path(artifact.path).iterdir()}


SETTINGS = {
    "dropout, augmentation, early stopping": {"augment": {"flip": True, "shift": 1}, "early_stopping": {"patience": 9}},
    "sgd, plateau, class weights": {
        "optimizer": "sgd", "schedule": {"decay": "plateau", "patience": 1, "factor": 0.1}, "learning_rate": 0.05,
        "clip_norm": 1.0, "class_weights": "balanced", "label_smoothing": 0.1,
    },
    "adamw, warm-up, penalties": {
        "optimizer": "adamw", "weight_decay": 0.01, "schedule": {"decay": "cosine", "warmup_epochs": 1.0}, "l1": 1e-5,
        "l2": 1e-4,
    },
}  # fmt: skip


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
def test_an_interrupted_training_ends_with_the_same_bytes(runner, settings):
    stage = Train.model_validate({**TRAIN.settings(), **settings})
    assert content(runner(stage)) == content(runner(stage, interrupt_after=2))


def test_an_interrupted_training_in_float16_goes_on_with_the_scale_that_its_loss_had(runner, tmp_path):
    """Squared errors of values up to 346 overflow float16 until the scale has been halved several times."""
    values = Runner(tmp_path, Diabetes(source="diabetes"), Mlp(source="mlp", units=(16,)))
    stage = Train(stage="train", epochs=3, batch_size=32, precision="mixed_float16", clip_norm=1.0)
    through = values(stage)
    assert content(values(stage, interrupt_after=1)) == content(through)
    assert facts(through)["curves"]["val_loss"][-1] < facts(through)["curves"]["val_loss"][0]
    assert precisions(through) == {"float32"}


def test_pruning_in_bfloat16_leaves_float32_weights_that_were_never_rounded(runner, trained):
    stage = Prune(stage="prune", sparsity=0.5, epochs=1, batch_size=128, min_weights=100, precision="mixed_bfloat16")
    artifact = runner(stage, trained)
    assert precisions(artifact) == {"float32"}
    with h5py.File(artifact.path / "model.h5") as file:
        kernel = file["model_weights/conv2/conv2/kernel:0"][()]
    assert np.mean(kernel == 0) == pytest.approx(0.5, abs=0.01)
    assert np.any(kernel.view(np.uint32) & 0xFFFF), "the lower half of a rounded weight is zero"


def precisions(artifact):
    """The types that the layers of a saved model compute in."""
    with h5py.File(artifact.path / "model.h5") as file:
        layers = json.loads(file.attrs["model_config"])["config"]["layers"]
    return {layer["config"]["dtype"] for layer in layers}


def test_interrupted_pruning_ends_with_the_same_bytes(runner, trained, pruned):
    stage = Prune(stage="prune", sparsity=0.5, epochs=3, batch_size=128, min_weights=100)
    assert content(runner(stage, trained, interrupt_after=2)) == content(pruned)


def test_interrupted_quantization_aware_training_ends_with_the_same_bytes(runner, pruned):
    stage = Qat(stage="qat", epochs=2, batch_size=128)
    assert content(runner(stage, pruned)) == content(runner(stage, pruned, interrupt_after=1))


def test_a_training_that_died_behind_its_last_epoch_is_not_trained_again(runner, trained):
    assert content(runner(TRAIN, interrupt_after=3)) == content(trained)


def test_curves_hold_a_value_an_epoch(trained):
    curves = facts(trained)["curves"]
    assert set(curves) == {"loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"}
    assert {len(values) for values in curves.values()} == {3}
    assert curves["learning_rate"] == pytest.approx([0.005] * 3)
    assert curves["loss"][0] > curves["loss"][-1]


def test_schedules_move_the_learning_rate(runner):
    cosine = {"decay": "cosine", "warmup_epochs": 1.0, "final": 0.1}
    rates = facts(runner(Train.model_validate({**TRAIN.settings(), "schedule": cosine})))["curves"]["learning_rate"]
    assert rates[0] > rates[1] > rates[2] == pytest.approx(0.0005, rel=0.2)
    exponential = {"decay": "exponential", "factor": 0.5}
    rates = facts(runner(Train.model_validate({**TRAIN.settings(), "schedule": exponential})))["curves"][
        "learning_rate"
    ]
    assert [after / before for before, after in pairwise(rates)] == pytest.approx([0.5, 0.5])


def test_early_stopping_stops_and_keeps_the_best_weights(runner):
    settings = {"epochs": 30, "learning_rate": 0.05, "early_stopping": {"patience": 2, "monitor": "val_loss"}}
    artifact = runner(Train.model_validate({**TRAIN.settings(), **settings}))
    losses = facts(artifact)["curves"]["val_loss"]
    assert 3 <= len(losses) < 30
    assert losses.index(min(losses)) == len(losses) - 3
    found = []
    processes.call("loss", artifact.path / "log", found.append, validation_loss, artifact.path)
    assert found == [pytest.approx(min(losses), rel=1e-4)]


def validation_loss(send, folder):
    from pipeline.keras import tf

    tf.load()
    split = DATA.split("validation")
    _, y = split.batch(np.arange(len(split)))
    scores = tf.predict(tf.load_model(folder / "model.h5"), split)
    send(float(-np.log(scores[np.arange(len(y)), y]).mean()))


def test_a_loss_that_is_no_number_is_one_clear_error(runner):
    with pytest.raises(StageError, match=r"the loss of epoch 1 is (nan|inf).*lower learning_rate"):
        runner(Train.model_validate({**TRAIN.settings(), "learning_rate": 1e30, "optimizer": "sgd"}))


def test_class_weights_must_be_one_for_each_label(runner):
    with pytest.raises(StageError, match=r"one weight for each of 10 labels \(received 2\)"):
        runner(Train.model_validate({**TRAIN.settings(), "class_weights": [1.0, 2.0]}))


def test_pruning_reports_what_it_did_to_each_layer(pruned):
    rows = {row["layer"]: row for row in facts(pruned)["layers"]}
    assert rows["conv2"]["done"]
    assert rows["conv2"]["sparsity"] == pytest.approx(0.5, abs=0.01)
    assert rows["conv1"]["why"] == "has 36 weights; min_weights is 100"
    assert rows["logits"]["why"].startswith("is the output layer")
    assert "norm1" not in rows


def test_patterns_leave_layers_alone_and_constant_pruning_reaches_its_target(runner, trained):
    settings = {"ramp": "constant", "skip": ["conv2"], "min_weights": 0, "prune_output": True, "epochs": 1}
    stage = Prune.model_validate({"stage": "prune", "sparsity": 0.7, "batch_size": 128, **settings})
    rows = {row["layer"]: row for row in facts(runner(stage, trained))["layers"]}
    assert rows["conv2"]["why"] == "named in skip"
    assert [name for name, row in rows.items() if row["done"]] == ["conv1", "conv3", "logits"]
    assert rows["logits"]["sparsity"] == pytest.approx(0.7, abs=0.01)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"skip": ["conv9"]}, r"skip: no layer matches 'conv9'.*did you mean 'conv"),
        (
            {"layers": {"conw2": 0.1}, "policy": "xnnpack_latency"},
            r"no layer matches 'conw2'.*did you mean 'conv2'(.|\n)*must begin with ZeroPadding2D(.|\n)*pool1 must be",
        ),
        ({"min_weights": 10**6}, r"there is no layer to prune .*conv1: has 36 weights"),
    ],
)
def test_pruning_that_can_do_nothing_is_refused(runner, trained, settings, message):
    stage = Prune.model_validate({"stage": "prune", "sparsity": 0.5, "epochs": 1, **settings})
    with pytest.raises(StageError, match=message):
        runner(stage, trained)


def test_zeros_of_a_prune_stage_above_that_are_lost_are_told(runner, pruned):
    stage = Prune(stage="prune", sparsity=0.6, epochs=1, batch_size=128, end=1.0, min_weights=100, skip=("conv2",))
    slow, lost = facts(runner(stage, pruned))["notes"]
    assert "no model faster" in slow
    assert lost.startswith("conv2 went from 50.0% to ")


def test_zeros_are_kept_by_themselves_after_pruning_and_their_loss_is_told(runner, pruned):
    kept = facts(runner(Qat(stage="qat", epochs=1, batch_size=128), pruned))
    assert kept["sparsity"] == pytest.approx({"conv2": 0.5, "conv3": 0.5}, abs=0.01)
    assert kept["notes"] == []
    lost = facts(runner(Qat(stage="qat", epochs=1, batch_size=128, preserve="none"), pruned))
    assert all(fraction < 0.1 for fraction in lost["sparsity"].values())
    assert any("conv2 went from 50.0% to" in note and "`preserve: sparsity`" in note for note in lost["notes"])


def test_m_by_n_pruning_leaves_that_many_zeros_among_consecutive_inputs(runner, trained):
    stage = Prune(stage="prune", m_by_n=(2, 4), epochs=1, batch_size=128, min_weights=0, layers={"conv3": 0.0})
    artifact = runner(stage, trained)
    rows = {row["layer"]: row for row in facts(artifact)["layers"]}
    assert rows["conv1"]["why"] == "has 1 inputs, no multiple of 4"
    assert rows["conv3"]["why"] == "named in layers with 0"
    assert rows["conv2"]["sparsity"] == 0.5
    found = []
    processes.call("zeros", artifact.path / "log", found.append, zeros_of_four, artifact.path, "conv2")
    assert found == [2]


def zeros_of_four(send, folder, name):
    from pipeline.keras import tf
    from pipeline.keras.pruning.zeros import least_zeros

    tf.load()
    send(least_zeros(tf.load_model(folder / "model.h5").get_layer(name).kernel.numpy(), 4))


def zeros_of_blocks(send, folder, name):
    """How many of each block of 4 inputs and 2 units are zero, at each place of a kernel."""
    from pipeline.keras import tf

    tf.load()
    kernel = tf.load_model(folder / "model.h5").get_layer(name).kernel.numpy()
    blocks = kernel.reshape(9, kernel.shape[2] // 4, 4, kernel.shape[3] // 2, 2)
    send((blocks == 0).sum(axis=(2, 4)).ravel().tolist())


def test_blocks_and_single_layers_have_a_sparsity_of_their_own(runner, trained):
    settings = {"block_size": (4, 2), "prune_output": True, "ramp": "gradual", "min_weights": 0, "epochs": 1}
    stage = Prune.model_validate({"stage": "prune", "sparsity": 0.5, "batch_size": 128, **settings})
    artifact = runner(stage, trained)
    rows = {row["layer"]: row for row in facts(artifact)["layers"]}
    assert rows["conv1"]["why"] == "has 1 inputs and 4 units, which is no multiple of blocks (4, 2)"
    assert rows["logits"]["sparsity"] == pytest.approx(0.5, abs=0.01)
    assert rows["conv3"]["sparsity"] == pytest.approx(0.5, abs=0.01)
    found = []
    processes.call("blocks", artifact.path / "log", found.append, zeros_of_blocks, artifact.path, "conv3")
    assert set(found[0]) == {0, 8}
    settings = {"layers": {"conv*": 0.25, "conv3": 0.75}, "epochs": 1, "min_weights": 100}
    stage = Prune.model_validate({"stage": "prune", "sparsity": 0.5, "batch_size": 128, **settings})
    rows = {row["layer"]: row for row in facts(runner(stage, trained))["layers"]}
    assert [rows[name]["sparsity"] for name in ("conv2", "conv3")] == pytest.approx([0.25, 0.75], abs=0.01)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "sparsity: give either sparsity or m_by_n"),
        ({"sparsity": 0.5, "m_by_n": (2, 4)}, "sparsity: give either sparsity or m_by_n"),
        ({"m_by_n": (4, 2)}, "m_by_n: the zeros must be fewer"),
        ({"sparsity": 1.0}, "less than 1"),
        ({"sparsity": 0.5, "method": "admm"}, "epochs: must leave at least one before and one after `end` for admm"),
        ({"sparsity": 0.5, "method": "admm", "begin": 0.2}, "method: admm has no m_by_n, block_size, begin"),
        ({"sparsity": 0.5, "initial_sparsity": 0.3, "layers": {"a": 0.2}}, "initial_sparsity: must be less than"),
    ],
)
def test_patterns_of_zeros_that_can_not_be_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        Prune.model_validate({"stage": "prune", "epochs": 1} | settings)


def test_admm_draws_the_weights_and_ends_with_the_zeros_and_an_interruption_leaves_no_trace(runner, trained):
    settings = {"method": "admm", "rho": 0.1, "end": 0.67, "epochs": 3, "batch_size": 128, "min_weights": 100}
    stage = Prune.model_validate({"stage": "prune", "sparsity": 0.5, **settings})
    whole = runner(stage, trained)
    assert content(whole) == content(runner(stage, trained, interrupt_after=1))
    assert content(whole) == content(runner(stage, trained, interrupt_after=2))
    rows = {row["layer"]: row for row in facts(whole)["layers"]}
    assert [rows[name]["sparsity"] for name in ("conv2", "conv3")] == pytest.approx([0.5, 0.5], abs=0.01)
    found = []
    processes.call("drawn", whole.path / "log", found.append, drawn)
    near, far = found
    assert near < 0.5 * far


def drawn(send):
    """How far the weights are from those with the zeros, over their size, with a strong and a weak penalty."""
    import numpy as np

    from pipeline.keras import tf
    from pipeline.keras.pruning import admm

    for rho in (1.0, 1e-6):
        tf.start(1)
        import tf_keras

        model = tf_keras.Sequential([tf_keras.layers.Dense(8, input_shape=(16,), use_bias=False)])
        kernel = model.layers[0].kernel
        step = admm.callback(model, [(kernel, 0.5)], rho, 99)
        model.compile("adam", "mse")
        model.optimizer.learning_rate = 0.01
        random = np.random.default_rng(1)
        x, dense = random.normal(size=(64, 16)).astype(np.float32), random.normal(size=(16, 8))
        model.fit(x, x @ dense, epochs=40, verbose=0, callbacks=[step])
        w = kernel.numpy()
        send(float(np.linalg.norm(w - admm.project(w, 0.5)) / np.linalg.norm(w)))


def test_weights_of_4_bits_are_trained_kept_over_a_crash_and_stored_as_such(runner, pruned):
    few = Qat(stage="qat", epochs=2, batch_size=128, weight_bits=4, keep_8=("conv1",))
    aware = runner(few, pruned, interrupt_after=1)
    assert content(aware) == content(runner(few, pruned))
    rows = {row["layer"]: row.get("weight_bits") for row in facts(aware)["layers"]}
    assert (rows["conv1"], rows["conv2"], rows["logits"]) == (8, 4, 4)
    path = runner(Convert(stage="convert", quantization="int8"), aware).path / "model.tflite"
    model = tflite.read(path)
    assert (model.quantization, model.floats()) == ("int8x4", ())
    kinds = {tensor.name.split("/")[1]: tensor.dtype for op in model.ops for tensor in op.weights}
    assert sorted(kinds.values()) == ["INT4", "INT4", "INT4", "INT8"]
    zeros = facts(aware)["sparsity"]
    assert zeros
    assert all(share >= 0.5 for share in zeros.values())
    settled = runner(Recalibrate(stage="recalibrate"), aware)
    assert {key: facts(settled)[key] for key in ("sparsity", "quantized")} == {"sparsity": zeros, "quantized": True}
    assert [(row["layer"], row["done"]) for row in facts(settled)["layers"]] == [(f"norm{i}", True) for i in (1, 2, 3)]
    assert facts(settled)["after"]["loss"] < facts(settled)["before"]["loss"]  # two epochs: averages lag far behind
    again = tflite.read(runner(Convert(stage="convert", quantization="int8"), settled).path / "model.tflite")
    assert (again.quantization, again.floats()) == ("int8x4", ())
    assert sum(again.sparsity().values()) >= sum(model.sparsity().values()) - 0.02
    x, _ = DATA.split("test").batch(np.arange(50))
    for kernels in ("builtin", "reference"):
        away = np.abs(litert.run(path, x, kernels) - litert.run(path, x))
        assert away.max() <= 0.05  # kernels round differently: 13 steps of the softmax


def test_layers_that_keep_8_bits_must_be_there(runner, trained):
    with pytest.raises(ValidationError, match="keep_8: has no effect where weight_bits is 8"):
        Qat(stage="qat", epochs=1, keep_8=("conv1",))
    with pytest.raises(StageError, match="keep_8: no layer matches 'conv9'"):
        runner(Qat(stage="qat", epochs=1, weight_bits=4, keep_8=("conv9",)), trained)
