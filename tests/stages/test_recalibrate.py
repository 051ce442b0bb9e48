"""The recalibrate stage: statistics of batch normalisation from clean examples."""

import numpy as np
import pytest

from pipeline.core.errors import StageError
from pipeline.data.sources.diabetes import Diabetes
from pipeline.keras.models.mlp import Mlp
from pipeline.stages.qat import Qat
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


def estimated_in(send, memory, batch):
    """The statistics of a network of branches, and the progress, with this much memory for results and batch."""
    from pipeline.keras import normalization, tf

    tf.load()
    import tf_keras

    tf.start(1)
    layers = tf_keras.layers
    x = inputs = tf_keras.Input((8, 8, 3))
    for width in (4, 6):
        one = layers.BatchNormalization()(layers.Conv2D(width, 3, padding="same")(x))
        other = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(width, 1)(x)))
        x = layers.ReLU()(layers.Add()([one, layers.Dropout(0.5)(other)]))
    twice = layers.BatchNormalization()
    model = tf_keras.Model(inputs, layers.Dense(2)(layers.Flatten()(twice(twice(x)))))
    normalization.MEMORY, normalization.BATCH, heard = memory, batch, []
    reasons = normalization.reasons(model)
    rows = normalization.estimate(model, reasons, DATA_OF_IMAGES, np.arange(30), heard.append)
    norms = [layer for layer in model.layers if type(layer).__name__ == "BatchNormalization"]
    for norm in norms[:-1]:  # in Keras's own words: what each is given, with all others as they are now
        given = tf_keras.Model(model.inputs, norm.input)(DATA_OF_IMAGES.x, training=False).numpy().astype(np.float64)
        send((norm.moving_mean.numpy(), norm.moving_variance.numpy(), given.mean((0, 1, 2)), given.var((0, 1, 2))))
    send(([row["why"] for row in rows], [(each.done, each.within and each.within.total) for each in heard]))


class Images:
    x = np.random.default_rng(5).normal(1.5, 2.0, (30, 8, 8, 3)).astype(np.float32)

    def batch(self, positions):
        return self.x[positions], np.zeros(len(positions), np.int64)


DATA_OF_IMAGES = Images()


@pytest.mark.parametrize(("memory", "batch"), [(1 << 29, 8), (0, 8), (100_000, 30)])
def test_branches_are_estimated_together_whatever_fits_into_memory(in_child, memory, batch):
    *found, (whys, heard) = in_child(estimated_in, memory, batch)
    assert len(found) == 4
    for mean, variance, expected_mean, expected_variance in found:
        assert mean == pytest.approx(expected_mean, rel=1e-5, abs=1e-6)
        assert variance == pytest.approx(expected_variance, rel=1e-5)
    assert whys == ["", "", "", "", "is used more than once"]
    batches = -(-30 // batch)
    assert heard == [(0, batches)] * batches + [(2, batches)] * batches + [(5, None)]  # two passes, each in all batches


@pytest.mark.parametrize(("per_channel", "faults"), [(True, 0), (False, 1)])
def test_behind_a_qat_that_needs_folded_normalisation_there_is_none_to_estimate(per_channel, faults):
    above = [Qat(stage="qat", epochs=1, per_channel=per_channel), Train(stage="train", epochs=1)]
    found = list(Recalibrate(stage="recalibrate").unfit_behind(above))
    assert len(found) == faults
    assert all("per_channel: false" in fault.rule and fault.do == "leave the stage out" for _, fault in found)
