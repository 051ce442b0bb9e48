"""The qat stage: what it keeps of the stages above, and weights of 4 bits."""

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline import tflite
from pipeline.core.errors import StageError
from pipeline.stages.convert import Convert
from pipeline.stages.qat import Qat
from pipeline.stages.recalibrate import Recalibrate
from pipeline.verify.interpreters import litert
from tests.support.stages import DATA, content, facts


def test_interrupted_quantization_aware_training_ends_with_the_same_bytes(runner, pruned):
    stage = Qat(stage="qat", epochs=2, batch_size=128)
    assert content(runner(stage, pruned)) == content(runner(stage, pruned, interrupt_after=1))


def test_zeros_are_kept_by_themselves_behind_pruning(aware):
    kept = facts(aware)
    assert kept["sparsity"] == pytest.approx({"conv2": 0.5, "conv3": 0.5}, abs=0.01)
    assert kept["notes"] == []


def test_the_loss_of_zeros_is_told(runner, pruned):
    lost = facts(runner(Qat(stage="qat", epochs=1, batch_size=128, preserve="none"), pruned))
    assert all(fraction < 0.1 for fraction in lost["sparsity"].values())
    assert any("conv2 went from 50.0% to" in note and "`preserve: sparsity`" in note for note in lost["notes"])


FEW = Qat(stage="qat", epochs=2, batch_size=128, weight_bits=4, keep_8=("conv1",))
INT8 = Convert(stage="convert", quantization="int8")


@pytest.fixture(scope="module")
def few(runner, pruned):
    """Trained with 4-bit weights but for the first layer's."""
    return runner(FEW, pruned)


@pytest.fixture(scope="module")
def few_file(runner, few):
    return runner(INT8, few).path / "model.tflite"


@pytest.fixture(scope="module")
def settled(runner, few):
    """The same, with statistics from clean examples."""
    return runner(Recalibrate(stage="recalibrate"), few)


def test_an_interrupted_training_with_4_bits_ends_with_the_same_bytes(runner, pruned, few):
    assert content(runner(FEW, pruned, interrupt_after=1)) == content(few)


def test_layers_have_4_bits_but_for_those_that_keep_8(few):
    bits = {row["layer"]: row.get("weight_bits") for row in facts(few)["layers"]}
    assert (bits["conv1"], bits["conv2"], bits["logits"]) == (8, 4, 4)


def test_weights_of_4_bits_keep_the_zeros(few):
    assert facts(few)["sparsity"]
    assert all(share >= 0.5 for share in facts(few)["sparsity"].values())


def test_weights_of_4_bits_are_stored_as_such(few_file):
    model = tflite.read(few_file)
    assert (model.quantization, model.floats()) == ("int8x4", ())
    assert sorted(tensor.dtype for op in model.ops for tensor in op.weights) == ["INT4", "INT4", "INT4", "INT8"]


def test_kernels_agree_on_weights_of_4_bits(few_file):
    x, _ = DATA.split("test").batch(np.arange(50))
    for kernels in ("builtin", "reference"):
        away = np.abs(litert.run(few_file, x, kernels) - litert.run(few_file, x))
        assert away.max() <= 0.05  # they round differently: 13 steps of the softmax


def test_recalibration_settles_normalisations_that_4_bits_moved(few, settled):
    found = facts(settled)
    assert [(row["layer"], row["done"]) for row in found["layers"]] == [(f"norm{i}", True) for i in (1, 2, 3)]
    assert found["after"]["loss"] < found["before"]["loss"]  # two epochs: averages lag far behind
    assert (found["sparsity"], found["quantized"]) == (facts(few)["sparsity"], True)


def test_recalibrated_weights_are_stored_in_4_bits_with_their_zeros(runner, settled, few_file):
    model = tflite.read(runner(INT8, settled).path / "model.tflite")
    assert (model.quantization, model.floats()) == ("int8x4", ())
    assert sum(model.sparsity().values()) >= sum(tflite.read(few_file).sparsity().values()) - 0.02


def test_layers_that_keep_8_bits_must_be_there(runner, trained):
    with pytest.raises(ValidationError, match="keep_8: has no effect where weight_bits is 8"):
        Qat(stage="qat", epochs=1, keep_8=("conv1",))
    with pytest.raises(StageError, match="keep_8: no layer matches 'conv9'"):
        runner(Qat(stage="qat", epochs=1, weight_bits=4, keep_8=("conv9",)), trained)
