"""Shared weights from the cluster stage to the compressed file, and the check that counts them."""

import numpy as np
import pytest
import test_training
from test_training import DATA, content, facts

from pipeline import tflite
from pipeline.core.errors import ConfigError, EdgepipeError, StageError
from pipeline.stages.cluster import Cluster
from pipeline.stages.compress import Compress
from pipeline.stages.convert import Convert
from pipeline.stages.prune import Prune
from pipeline.stages.qat import Qat
from pipeline.tflite import lut
from pipeline.tflite.flatbuffer import MalformedError
from pipeline.tflite.graph import Tensor
from pipeline.verify import measurement
from pipeline.verify.checks.clusters import Clusters
from pipeline.verify.interpreters import litert, tflm
from pipeline.verify.runtimes import comparison

runner, trained = test_training.runner, test_training.trained

SETTINGS = {"epochs": 2, "batch_size": 128, "min_weights": 100}


def rows(artifact):
    return {row["layer"]: row for row in facts(artifact)["layers"]}


@pytest.fixture(scope="session")
def zeros_shared(runner, trained):
    pruned = runner(Prune(stage="prune", sparsity=0.5, **SETTINGS), trained)
    return runner(Cluster(stage="cluster", clusters=8, skip=("conv2",), **SETTINGS), pruned)


@pytest.fixture(scope="session")
def shared_file(runner, zeros_shared):
    aware = runner(Qat(stage="qat", epochs=1, batch_size=128), zeros_shared)
    return runner(Convert(stage="convert", quantization="int8"), aware)


@pytest.fixture(scope="session")
def packed_file(runner, shared_file):
    pytest.importorskip("tflite_micro")
    return runner(Compress(stage="compress"), shared_file)


def weights(artifact):
    """Stored weights by Keras layer."""
    model = tflite.read(artifact.path / "model.tflite")
    return {tflite.layer_name(tensor.name): tensor for op in model.ops for tensor in op.weights}


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


def test_a_compressed_file_is_smaller_and_equal_on_tflm(shared_file, packed_file):
    plain, packed = shared_file.path / "model.tflite", packed_file.path / "model.tflite"
    assert packed.stat().st_size < plain.stat().st_size - 400
    assert {name: row["done"] for name, row in rows(packed_file).items()} == {
        "conv1": False, "conv2": False, "conv3": True, "logits": False,
    }  # fmt: skip
    before, after = weights(shared_file), weights(packed_file)
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name].data(), after[name].data()) for name in before)
    x, _ = DATA.split("test").batch(np.arange(40))
    np.testing.assert_array_equal(tflm.run(plain, x), tflm.run(packed, x))
    with pytest.raises(EdgepipeError):
        litert.run(packed, x)


def test_a_compressed_file_is_measured_on_tflm(packed_file):
    path = packed_file.path / "model.tflite"
    x, y = DATA.split("test").batch(np.arange(40))
    found, raw, output, _ = measurement.run(measurement.read("packed", path), path, x, y, DATA.spec(), "")
    np.testing.assert_array_equal(output, tflm.run(path, x))
    assert found.integer_only
    assert found.quantization == "int8"
    assert found.latency_ms is None
    assert found.metrics["accuracy"] == np.mean(output.argmax(axis=1) == y)
    base, *others = comparison.compare(path, x, y, DATA.spec(), raw)
    assert (base.runtime, base.base, base.examples) == ("tflm", True, 40)
    assert all("TFLM_DECODE" in other.unavailable and other.accuracy is None for other in others)


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


def test_what_can_not_be_done_is_refused(runner, trained):
    with pytest.raises(StageError, match=r"there is no layer to cluster .*conv3: has 1152 weights; min_weights"):
        runner(Cluster(stage="cluster", clusters=4, epochs=1, min_weights=10**6), trained)
    pytest.importorskip("tflite_micro")
    plain = runner(Convert(stage="convert", quantization="float32"), trained)
    with pytest.raises(StageError, match=r"no weights have so few different values"):
        runner(Compress(stage="compress"), plain)


def encoded(values, bits, axis):
    """What the tools of tflite-micro make of values: the encoded tensor, its description, the output."""
    compressor = pytest.importorskip("tflite_micro.tensorflow.lite.micro.compression.lut")
    from tflite_micro.tensorflow.lite.micro.compression import model_editor, spec

    mode = spec.PerTensor() if axis is None else spec.PerChannel(axis)
    tensor = model_editor.Tensor(shape=values.shape, dtype=9, data=values)  # 9 is INT8
    made = compressor.LutCompressor().compress(tensor, spec.LookUpTableCompression(bits, mode))
    parts = (np.frombuffer(part, np.uint8) for part in (made.encoded_data, made.ancillary_data))
    first, second = (Tensor(0, i, "", part.shape, part.shape, "UINT8", raw=part) for i, part in enumerate(parts))
    return first, second, Tensor(0, 2, "", values.shape, values.shape, "INT8")


@pytest.mark.parametrize("bits", range(1, 8))
@pytest.mark.parametrize("axis", [None, 0, 2])
def test_tables_are_read_as_the_tools_write_them(bits, axis):
    rng = np.random.default_rng(bits)
    values = rng.permutation(np.resize(np.arange(-(1 << bits - 1), 1 << bits - 1, dtype=np.int8), 5 * 40 * 5))
    values = values.reshape(5, 40, 5)
    found = lut.decode(*encoded(values, bits, axis))
    np.testing.assert_array_equal(found.data(), values)


@pytest.mark.parametrize(
    ("bytes_kept", "change"), [(8, {}), (18, {}), (32, {6: 2}), (32, {5: 0xF0}), (32, {5: 0x93})]
)  # cut off in the head, in the table; a shorter table; no bits; an axis that is not there
def test_tables_that_do_not_fit_are_malformed(bytes_kept, change):
    first, second, output = encoded(np.arange(-4, 4, dtype=np.int8).repeat(3).reshape(2, 12), 3, None)
    raw = second.raw[:bytes_kept].copy()
    for place, value in change.items():
        raw[place] = value
    with pytest.raises(MalformedError):
        lut.decode(first, Tensor(0, 1, "", raw.shape, raw.shape, "UINT8", raw=raw), output)
