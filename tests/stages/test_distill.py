"""The distill stage, and a teacher's part in other stages."""

import pytest

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
from tests.support.stages import DATA, Runner, content, facts, layers

SHORT = {"epochs": 2, "batch_size": 128, "learning_rate": 0.005}


@pytest.fixture(scope="module")
def smaller(tmp_path_factory):
    """Runs stages on a network with half the filters of the teacher's."""
    return Runner(tmp_path_factory.mktemp("smaller"), DATA, SmallCnn(source="small_cnn", filters=2))


def names(artifact):
    return [layer["name"] for layer in layers(artifact)]


def test_an_interrupted_distillation_ends_with_the_same_bytes_and_nothing_of_the_teacher(smaller, trained):
    teacher = File(source="file", path=trained.path / "model.h5")
    settings = {"features": {"relu3": "relu3"}, "early_stopping": {}, "precision": "mixed_float16", **SHORT}
    stage = Distill(stage="distill", teacher=teacher, **settings)
    through = smaller(stage)
    assert content(smaller(stage, interrupt_after=1)) == content(through)
    assert names(through) == [name for name in names(trained) if name != "dropout"]
    told = {"loss", "accuracy", "val_loss", "val_accuracy", "val_unpredicted", "learning_rate"}
    assert set(facts(through)["curves"]) == told


def test_quantization_aware_training_with_a_teacher_keeps_the_zeros_and_nothing_of_the_teacher(
    runner, pruned, trained, aware
):
    taught = runner(Qat(stage="qat", teacher="train", temperature=2.0, epochs=1, batch_size=128), pruned, trained)
    assert facts(taught)["sparsity"] == pytest.approx({"conv2": 0.5, "conv3": 0.5}, abs=0.01)
    assert names(taught) == names(aware)
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
    assert names(taught) == names(alone)
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
