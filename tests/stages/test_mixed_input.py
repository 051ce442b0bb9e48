"""One input that holds ids, flags and a wide quantity: what int8 does to it is told by every stage that rounds it."""

import numpy as np
import pytest

from pipeline.core.errors import StageError
from pipeline.data.sources.npz import Npz
from pipeline.keras.models.file import File
from pipeline.stages.convert import Convert
from pipeline.stages.qat import Qat
from pipeline.stages.train import Train
from tests.support.stages import Runner, facts


def save(send, path):
    import tf_keras as keras
    from tf_keras import layers

    keras.utils.set_random_seed(1)
    inputs = layers.Input((6,), name="values")
    x = layers.Flatten()(layers.Embedding(300, 8, name="words")(inputs[:, :4]))
    x = layers.Concatenate()([x, layers.Dense(2, name="rest")(inputs[:, 4:])])
    keras.Model(inputs, layers.Dense(2, activation="softmax", name="out")(x)).save(path)


@pytest.fixture(scope="module")
def stages(in_child, tmp_path_factory):
    """A runner, and a network whose label is whether the first id is odd."""
    folder = tmp_path_factory.mktemp("mixed")
    random = np.random.default_rng(0)
    ids, flags = random.integers(0, 300, (1500, 4)), random.integers(0, 2, (1500, 1))
    x = np.concatenate([ids, flags, random.normal(0, 200, (1500, 1))], axis=1).astype(np.float32)
    np.savez(folder / "data.npz", x_train=x, y_train=ids[:, 0] % 2)
    in_child(save, folder / "model.h5")
    model = File(source="file", path=folder / "model.h5")
    data = Npz(source="npz", path=folder / "data.npz").feeding(model)
    runner = Runner(folder, data, model)
    train = Train(stage="train", epochs=25, batch_size=32, learning_rate=0.02)
    return runner, runner(train)


def converted(stages, **settings):
    runner, trained = stages
    made = runner(Convert(stage="convert", **settings).aimed_at(None), trained)
    return made.tflite.read_bytes(), facts(made)["notes"]


def test_convert_says_what_is_lost_and_where_and_changes_no_byte_for_it(stages):
    loud, told = converted(stages, quantization="int8")
    quiet, silent = converted(stages, quantization="int8", warn_drop=1.0)
    assert loud == quiet
    (lost,) = (note for note in told if "validation examples" in note)
    assert "by the Keras model" in lost
    assert "look first at layer 'words' (GATHER)" in lost
    assert not [note for note in silent if "validation examples" in note]
    (flags,) = (note for note in told if "are 0 or 1" in note)
    assert flags.startswith("1 of 6 input values")


@pytest.mark.parametrize("quantization", ["float16", "dynamic"])
def test_a_file_that_keeps_the_input_says_nothing(stages, quantization):
    assert not [note for note in converted(stages, quantization=quantization)[1] if "validation examples" in note]


def test_qat_refuses_to_round_ids(stages):
    runner, trained = stages
    with pytest.raises(StageError, match=r"can't hold ids.*received words"):
        runner(Qat(stage="qat", epochs=1), trained)


def test_the_warning_is_not_for_float32():
    with pytest.raises(ValueError, match="warn_drop: has no effect on float32"):
        Convert(stage="convert", quantization="float32", warn_drop=0.1)
