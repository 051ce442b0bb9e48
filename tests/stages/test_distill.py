"""A teacher's part in trainings, and statistics of batch normalisation from clean examples."""

import json

import h5py
import numpy as np
import pytest
import test_training
from test_training import DATA, MODEL, Runner, content, facts

from pipeline.core import processes
from pipeline.core.errors import InputError, StageError
from pipeline.data.sources.diabetes import Diabetes
from pipeline.keras.models.file import File
from pipeline.keras.models.mlp import Mlp
from pipeline.keras.models.small_cnn import SmallCnn
from pipeline.stages.channel_prune import ChannelPrune
from pipeline.stages.cluster import Cluster
from pipeline.stages.distill import Distill
from pipeline.stages.prune import Prune
from pipeline.stages.qat import Qat
from pipeline.stages.recalibrate import Recalibrate
from pipeline.stages.train import Train

runner, trained, pruned = test_training.runner, test_training.trained, test_training.pruned

SHORT = {"epochs": 2, "batch_size": 128, "learning_rate": 0.005}


@pytest.fixture(scope="module")
def smaller(tmp_path_factory):
    """Runs stages on a network with half the filters of the teacher's."""
    return Runner(tmp_path_factory.mktemp("smaller"), DATA, SmallCnn(source="small_cnn", filters=2))


@pytest.fixture(scope="module")
def in_child(tmp_path_factory):
    """What a function sends, from a process that may import TensorFlow."""
    log = tmp_path_factory.mktemp("child") / "log"

    def call(function, *arguments):
        found = []
        processes.call(function.__name__, log, found.append, function, *arguments)
        return found

    return call


def layers(artifact):
    with h5py.File(artifact.path / "model.h5") as file:
        return [layer["config"]["name"] for layer in json.loads(file.attrs["model_config"])["config"]["layers"]]


def softened(logits, temperature):
    exponent = np.exp(logits / temperature)
    return exponent / exponent.sum(axis=-1, keepdims=True)


def losses(send):
    """(name, what Keras makes of it, what NumPy makes of it) for each part of a lesson's loss."""
    from pipeline.keras import tf
    from pipeline.keras.training.lesson import Lesson, lesson_loss

    tf.start(3)
    import tf_keras

    spec, (x, y) = DATA.spec(), DATA.split("validation").batch(np.arange(100))
    teacher, learner = MODEL.build(spec), MODEL.build(spec)
    lesson = Lesson(teacher, True, 3.0, 0.25, {"relu2": "conv2"}, 0.5)
    taught = lesson.taught(learner, False)
    taught.compile("sgd", lambda truth, output: 0.25 * tf_keras.losses.categorical_crossentropy(truth, output))
    theirs, own = (model(x).numpy().astype(np.float64) for model in (teacher, learner))
    label = -np.log(own[np.arange(100), y]).mean()
    p, q = softened(np.log(theirs), 3), softened(np.log(own), 3)
    soft = 9 * (p * np.log(p / q)).sum(axis=1).mean()
    at = [
        tf_keras.Model(model.inputs, model.get_layer(name).output)
        for model, name in ((teacher, "relu2"), (learner, "conv2"))
    ]
    feature = np.square(at[0](x) - at[1](x)).mean()
    send(("all", taught.evaluate(x, np.eye(10)[y], 100, verbose=0), 0.25 * label + 0.75 * soft + 0.5 * feature))
    send(("weights", len(taught.weights), len(learner.weights)))
    values = Lesson(teacher, False, 4.0, 0.1)
    send(("values", float(lesson_loss(theirs, own, values)), np.square(theirs - own).mean()))
    two = [tf_keras.Sequential([tf_keras.layers.Dense(1, activation="sigmoid", input_shape=(4,))]) for _ in range(2)]
    pair = Lesson(two[0], True, 2.0, 0.0).taught(two[1], False)
    pair.compile("sgd", lambda truth, output: 0.0 * truth)
    z = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    odds = [np.concatenate([np.zeros((50, 1)), z @ model.get_weights()[0]], axis=1) for model in two]
    p, q = (softened(each, 2) for each in odds)
    divergence = 4 * (p * np.log(p / q)).sum(axis=1).mean()
    send(("two labels", pair.evaluate(z, np.zeros((50, 1)), 50, verbose=0), divergence))


def test_the_loss_is_that_of_the_papers(in_child):
    found = in_child(losses)
    assert [name for name, *_ in found] == ["all", "weights", "values", "two labels"]
    for name, value, expected in found:
        assert value == pytest.approx(expected, rel=1e-4), name


def test_an_interrupted_distillation_ends_with_the_same_bytes_and_nothing_of_the_teacher(smaller, trained):
    teacher = File(source="file", path=trained.path / "model.h5")
    settings = {"features": {"relu3": "relu3"}, "early_stopping": {}, "precision": "mixed_float16", **SHORT}
    stage = Distill(stage="distill", teacher=teacher, **settings)
    through = smaller(stage)
    assert content(smaller(stage, interrupt_after=1)) == content(through)
    assert layers(through) == [name for name in layers(trained) if name != "dropout"]
    assert set(facts(through)["curves"]) == {"loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"}


@pytest.fixture(scope="module")
def aware(runner, pruned):
    return runner(Qat(stage="qat", epochs=1, batch_size=128), pruned)


def test_quantization_aware_training_with_a_teacher_keeps_the_zeros_and_nothing_of_the_teacher(
    runner, pruned, trained, aware
):
    taught = runner(Qat(stage="qat", teacher="train", temperature=2.0, epochs=1, batch_size=128), pruned, trained)
    assert facts(taught)["sparsity"] == pytest.approx({"conv2": 0.5, "conv3": 0.5}, abs=0.01)
    assert layers(taught) == layers(aware)
    assert facts(taught)["curves"]["loss"] != facts(aware)["curves"]["loss"]


def test_pruning_with_a_teacher_reaches_its_sparsity(runner, trained):
    settings = {"sparsity": 0.5, "min_weights": 100, "teacher": "train"}
    rows = facts(runner(Prune.model_validate({"stage": "prune", **settings, **SHORT}), trained))["layers"]
    assert [row["layer"] for row in rows if row["done"]] == ["conv2", "conv3"]


@pytest.mark.parametrize(
    ("kind", "settings"), [(Cluster, {"clusters": 8, "min_weights": 100}), (ChannelPrune, {"keep": 0.5, "multiple": 2})]
)
def test_other_stages_learn_from_a_teacher_and_keep_nothing_of_it(runner, trained, kind, settings):
    stage = {"stage": "cluster" if kind is Cluster else "channel_prune", **settings, **SHORT, "epochs": 1}
    alone, taught = (runner(kind.model_validate(stage | {"teacher": name}), trained) for name in (None, "train"))
    assert layers(taught) == layers(alone)
    assert facts(taught)["curves"]["loss"] != facts(alone)["curves"]["loss"]
    assert [row["done"] for row in facts(taught)["layers"]] == [row["done"] for row in facts(alone)["layers"]]


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"relu9": "relu3"}, r"features: the teacher has no layer 'relu9'.*did you mean 'relu"),
        ({"relu3": "relu1"}, r"must be of the same size \(received \(2, 2, 16\) and \(8, 8, 2\)\)"),
    ],
)
def test_layers_that_can_not_learn_from_each_other_are_refused(smaller, trained, features, message):
    with pytest.raises(StageError, match=message):
        smaller(Distill(stage="distill", teacher="train", features=features, **SHORT), trained)


def test_a_teacher_of_other_examples_is_refused_at_its_setting(tmp_path, trained):
    values = Runner(tmp_path, Diabetes(source="diabetes"), Mlp(source="mlp"))
    teacher = File(source="file", path=trained.path / "model.h5")
    with pytest.raises(InputError, match=r"stages.distill.teacher: takes examples of shape \(8, 8, 1\)"):
        values(Distill(stage="distill", teacher=teacher, **SHORT))


@pytest.fixture(scope="module")
def estimated(runner, pruned):
    return runner(Recalibrate(stage="recalibrate", examples=100_000), pruned)


def statistics(send, folder):
    """The statistics of each normalisation, and those of what it is given for the training examples."""
    from pipeline.keras import tf

    tf.load()
    import tf_keras

    model = tf.load_model(folder / "model.h5")
    x, _ = DATA.split("train").batch(np.arange(len(DATA.split("train"))))
    for name in ("norm1", "norm2", "norm3"):
        layer = model.get_layer(name)
        given = tf_keras.Model(model.inputs, layer.input)(x, training=False).numpy().astype(np.float64)
        found = layer.moving_mean.numpy(), layer.moving_variance.numpy()
        send((*found, given.mean(axis=(0, 1, 2)), given.var(axis=(0, 1, 2))))


def test_statistics_are_those_of_all_training_examples(in_child, estimated):
    for mean, variance, expected_mean, expected_variance in in_child(statistics, estimated.path):
        assert mean == pytest.approx(expected_mean, rel=1e-5, abs=1e-6)
        assert variance == pytest.approx(expected_variance, rel=1e-5)


def test_recalibration_tells_its_effect_and_passes_the_zeros_on(estimated, pruned):
    found = facts(estimated)
    assert [row["layer"] for row in found["layers"]] == ["norm1", "norm2", "norm3"]
    assert found["sparsity"] == facts(pruned)["sparsity"]
    assert found["before"]["accuracy"] == pytest.approx(facts(pruned)["curves"]["val_accuracy"][-1], abs=1e-6)
    assert found["after"] != found["before"]
    shown = "validation accuracy {:.1f} % before, {:.1f} % after".format(
        100 * found["before"]["accuracy"], 100 * found["after"]["accuracy"]
    )
    (note,) = found["notes"]
    assert note.startswith(shown)


def test_recalibration_without_normalisation_is_refused(tmp_path):
    values = Runner(tmp_path, Diabetes(source="diabetes"), Mlp(source="mlp"))
    stage = Recalibrate(stage="recalibrate")
    with pytest.raises(StageError, match=r"(?s)there is no batch normalisation .*received none.*leave the stage out"):
        values(stage, values(Train(stage="train", epochs=0)))
