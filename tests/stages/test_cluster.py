"""The cluster stage: shared weights down to the file, and the check that counts them."""

import numpy as np
import pytest

from pipeline.core.errors import ConfigError, StageError
from pipeline.stages.cluster import Cluster
from pipeline.stages.qat import Qat
from pipeline.verify import measurement
from pipeline.verify.checks.clusters import Clusters
from tests.support.stages import content, facts, rows, weights

SETTINGS = {"epochs": 2, "batch_size": 128, "min_weights": 100}


def test_an_interrupted_clustering_ends_with_the_same_bytes(runner, trained):
    stage = Cluster(stage="cluster", clusters=4, per_channel=True, initialisation="linear", **SETTINGS)
    whole = runner(stage, trained)
    assert content(whole) == content(runner(stage, trained, interrupt_after=1))
    found = rows(whole)
    assert {name: row["values"] for name, row in found.items() if row["done"]} == {"conv2": 4, "conv3": 4}
    assert found["conv1"]["why"] == "has 36 weights; min_weights is 100"
    assert found["logits"]["why"].startswith("is the output layer")


def test_zeros_stay_zero_in_every_pruned_layer(zeros_shared):
    found = rows(zeros_shared)
    assert (found["conv3"]["done"], found["conv2"]["why"]) == (True, "named in skip")
    assert found["conv3"]["values"] <= 8
    assert found["conv2"]["sparsity"] == pytest.approx(0.5, abs=0.01)
    assert found["conv3"]["sparsity"] >= 0.5


def test_quantization_aware_training_keeps_both_to_the_file(shared_file):
    found = weights(shared_file)
    channels = found["conv3"].data().reshape(16, -1)
    assert max(len(np.unique(channel)) for channel in channels) <= 8
    assert np.mean(channels == 0) >= 0.5
    assert np.mean(found["conv2"].data() == 0) >= 0.5
    assert len(np.unique(channels)) > 8, "each channel's scale makes other integers of the same weights"


def test_the_loss_of_shared_weights_is_told(runner, zeros_shared):
    lost = facts(runner(Qat(stage="qat", epochs=1, batch_size=128, preserve="sparsity"), zeros_shared))
    assert any("conv3 went from" in note and "`preserve: clusters`" in note for note in lost["notes"])


def test_the_check_counts_weights_that_share_a_scale(shared_file):
    name = weights(shared_file)["conv3"].name
    model = measurement.read("shared", shared_file.path / "model.tflite").model_copy(update={"clustered": (name,)})
    (result,) = Clusters(check="clusters", max=8).judge(model, None)
    assert (result.status, result.unit) == ("pass", "count")
    (result,) = Clusters(check="clusters", max=2).judge(model, None)
    assert result.status == "fail"
    assert f"{name} has " in result.why
    (result,) = Clusters(check="clusters", max=8).judge(model.model_copy(update={"clustered": ()}), None)
    assert (result.status, result.value) == ("unavailable", None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("clusters: 1", "clusters: must be at least 2"),
        ("clusters: 2, preserve: sparsity", "clusters: must be at least 3 with preserve: sparsity"),
        ("clusters: 16, initialisation: kmeans", "did you mean 'kmeans\\+\\+'"),
    ],
)
def test_settings_that_make_no_sense(planned, settings, message):
    with pytest.raises(ConfigError, match=message):
        planned(f"  - {{stage: train, epochs: 1}}\n  - {{stage: cluster, epochs: 1, {settings}}}\n")


def test_layers_without_enough_weights_are_refused(runner, trained):
    with pytest.raises(StageError, match=r"there is no layer to cluster .*conv3: has 1152 weights; min_weights"):
        runner(Cluster(stage="cluster", clusters=4, epochs=1, min_weights=10**6), trained)
