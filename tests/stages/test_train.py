"""The train stage: settings that act, and interruptions that leave no trace in the result."""

from itertools import pairwise

import numpy as np
import pytest

from pipeline.core.errors import StageError
from pipeline.data.sources.diabetes import Diabetes
from pipeline.keras.models.autoencoder import Autoencoder
from pipeline.keras.models.mlp import Mlp
from pipeline.stages.qat import Qat
from pipeline.stages.train import Train
from tests.support.stages import DATA, TRAIN, Runner, content, facts, layers
from tests.support.task_data import ANOMALY, X, Y, source

pytestmark = pytest.mark.slow

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
    assert {layer["dtype"] for layer in layers(through)} == {"float32"}


def test_a_training_that_died_behind_its_last_epoch_is_not_trained_again(runner, trained):
    assert content(runner(TRAIN, interrupt_after=3)) == content(trained)


def test_curves_hold_a_value_an_epoch(trained):
    curves = facts(trained)["curves"]
    assert set(curves) == {"loss", "accuracy", "val_loss", "val_accuracy", "val_unpredicted", "learning_rate"}
    assert all(number in range(10) for number in curves["val_unpredicted"])
    assert {len(values) for values in curves.values()} == {3}
    assert curves["learning_rate"] == pytest.approx([0.005] * 3)
    assert curves["loss"][0] > curves["loss"][-1]


def rates(runner, schedule):
    """The learning rate of each epoch."""
    return facts(runner(Train.model_validate({**TRAIN.settings(), "schedule": schedule})))["curves"]["learning_rate"]


def test_a_cosine_schedule_falls_to_its_end_behind_the_warm_up(runner):
    first, second, last = rates(runner, {"decay": "cosine", "warmup_epochs": 1.0, "final": 0.1})
    assert first > second > last == pytest.approx(0.0005, rel=0.2)


def test_an_exponential_schedule_takes_the_same_factor_each_epoch(runner):
    found = rates(runner, {"decay": "exponential", "factor": 0.5})
    assert [after / before for before, after in pairwise(found)] == pytest.approx([0.5, 0.5])


def test_early_stopping_stops_and_keeps_the_best_weights(runner, in_child):
    settings = {"epochs": 30, "learning_rate": 0.05, "early_stopping": {"patience": 2, "monitor": "val_loss"}}
    artifact = runner(Train.model_validate({**TRAIN.settings(), **settings}))
    losses = facts(artifact)["curves"]["val_loss"]
    assert 3 <= len(losses) < 30
    assert losses.index(min(losses)) == len(losses) - 3
    found = in_child(validation_loss, artifact.path)
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


# Other tasks


@pytest.fixture(scope="module")
def regression(tmp_path_factory):
    folder = tmp_path_factory.mktemp("regression")
    data = source(folder, "regression", x_train=X, y_train=Y)
    return Runner(folder, data, Mlp(source="mlp", units=(8,), dropout=0.2))


def test_regression_trains_on_the_squared_error_and_resumes_to_the_same_bytes(regression):
    stage = Train(stage="train", epochs=3, batch_size=8, learning_rate=0.01, early_stopping={"monitor": "val_mae"})
    trained = regression(stage)
    curves = facts(trained)["curves"]
    assert set(curves) == {"loss", "mae", "val_loss", "val_mae", "learning_rate"}
    assert curves["loss"][0] > curves["loss"][-1]
    assert content(regression(stage, interrupt_after=2)) == content(trained)
    aware = regression(Qat(stage="qat", epochs=1, batch_size=8), trained)
    assert facts(aware)["curves"]["mae"][0] < curves["mae"][0]


def test_anomaly_detection_trains_to_give_back_its_input(tmp_path):
    model = Autoencoder(source="autoencoder", units=8, code=2, depth=1)
    runner = Runner(tmp_path, source(tmp_path, "anomaly", **ANOMALY), model)
    curves = facts(runner(Train(stage="train", epochs=6, batch_size=4, learning_rate=0.03)))["curves"]
    assert set(curves) == {"loss", "val_loss", "learning_rate"}
    assert curves["loss"][-1] < curves["loss"][0]
