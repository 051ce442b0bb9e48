"""The prune stage: zeros where they were asked for, and a word on each layer."""

import h5py
import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.core.errors import StageError
from pipeline.stages.prune import Prune
from tests.support.stages import content, facts, layers, rows


def test_pruning_in_bfloat16_leaves_float32_weights_that_were_never_rounded(runner, trained):
    stage = Prune(stage="prune", sparsity=0.5, epochs=1, batch_size=128, min_weights=100, precision="mixed_bfloat16")
    artifact = runner(stage, trained)
    assert {layer["dtype"] for layer in layers(artifact)} == {"float32"}
    with h5py.File(artifact.path / "model.h5") as file:
        kernel = file["model_weights/conv2/conv2/kernel:0"][()]
    assert np.mean(kernel == 0) == pytest.approx(0.5, abs=0.01)
    assert np.any(kernel.view(np.uint32) & 0xFFFF), "the lower half of a rounded weight is zero"


def test_interrupted_pruning_ends_with_the_same_bytes(runner, trained, pruned):
    stage = Prune(stage="prune", sparsity=0.5, epochs=3, batch_size=128, min_weights=100)
    assert content(runner(stage, trained, interrupt_after=2)) == content(pruned)


def test_pruning_reports_what_it_did_to_each_layer(pruned):
    found = rows(pruned)
    assert found["conv2"]["done"]
    assert found["conv2"]["sparsity"] == pytest.approx(0.5, abs=0.01)
    assert found["conv1"]["why"] == "has 36 weights; min_weights is 100"
    assert found["logits"]["why"].startswith("is the output layer")
    assert "norm1" not in found


def test_patterns_leave_layers_alone_and_constant_pruning_reaches_its_target(runner, trained):
    settings = {"ramp": "constant", "skip": ["conv2"], "min_weights": 0, "prune_output": True, "epochs": 1}
    stage = Prune.model_validate({"stage": "prune", "sparsity": 0.7, "batch_size": 128, **settings})
    found = rows(runner(stage, trained))
    assert found["conv2"]["why"] == "named in skip"
    assert [name for name, row in found.items() if row["done"]] == ["conv1", "conv3", "logits"]
    assert found["logits"]["sparsity"] == pytest.approx(0.7, abs=0.01)


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


def test_m_by_n_pruning_leaves_that_many_zeros_among_consecutive_inputs(runner, trained, in_child):
    stage = Prune(stage="prune", m_by_n=(2, 4), epochs=1, batch_size=128, min_weights=0, layers={"conv3": 0.0})
    artifact = runner(stage, trained)
    found = rows(artifact)
    assert found["conv1"]["why"] == "has 1 inputs, no multiple of 4"
    assert found["conv3"]["why"] == "named in layers with 0"
    assert found["conv2"]["sparsity"] == 0.5
    assert in_child(zeros_of_four, artifact.path, "conv2") == [2]


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


def test_blocks_are_zero_as_a_whole(runner, trained, in_child):
    settings = {"block_size": (4, 2), "prune_output": True, "ramp": "gradual", "min_weights": 0, "epochs": 1}
    stage = Prune.model_validate({"stage": "prune", "sparsity": 0.5, "batch_size": 128, **settings})
    artifact = runner(stage, trained)
    found = rows(artifact)
    assert found["conv1"]["why"] == "has 1 inputs and 4 units, which is no multiple of blocks (4, 2)"
    assert found["logits"]["sparsity"] == pytest.approx(0.5, abs=0.01)
    assert found["conv3"]["sparsity"] == pytest.approx(0.5, abs=0.01)
    (zeros,) = in_child(zeros_of_blocks, artifact.path, "conv3")
    assert set(zeros) == {0, 8}


def test_a_layer_may_have_a_sparsity_of_its_own(runner, trained):
    settings = {"layers": {"conv*": 0.25, "conv3": 0.75}, "epochs": 1, "min_weights": 100}
    stage = Prune.model_validate({"stage": "prune", "sparsity": 0.5, "batch_size": 128, **settings})
    found = rows(runner(stage, trained))
    assert [found[name]["sparsity"] for name in ("conv2", "conv3")] == pytest.approx([0.25, 0.75], abs=0.01)


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


def test_interrupted_admm_ends_with_the_same_bytes_and_with_the_zeros(runner, trained):
    settings = {"method": "admm", "rho": 0.1, "end": 0.67, "epochs": 3, "batch_size": 128, "min_weights": 100}
    stage = Prune.model_validate({"stage": "prune", "sparsity": 0.5, **settings})
    whole = runner(stage, trained)
    assert content(whole) == content(runner(stage, trained, interrupt_after=1))
    assert content(whole) == content(runner(stage, trained, interrupt_after=2))
    found = rows(whole)
    assert [found[name]["sparsity"] for name in ("conv2", "conv3")] == pytest.approx([0.5, 0.5], abs=0.01)
