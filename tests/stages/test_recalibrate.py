"""The recalibrate stage: statistics of batch normalisation from clean examples."""

import numpy as np
import pytest

from pipeline.core.errors import StageError
from pipeline.data.sources.diabetes import Diabetes
from pipeline.keras.models.mlp import Mlp
from pipeline.stages.recalibrate import Recalibrate
from pipeline.stages.train import Train
from tests.support.stages import DATA, Runner, facts


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


@pytest.mark.slow
def test_recalibration_without_normalisation_is_refused(tmp_path):
    values = Runner(tmp_path, Diabetes(source="diabetes"), Mlp(source="mlp"))
    stage = Recalibrate(stage="recalibrate")
    with pytest.raises(StageError, match=r"(?s)there is no batch normalisation .*received none.*leave the stage out"):
        values(stage, values(Train(stage="train", epochs=0)))
