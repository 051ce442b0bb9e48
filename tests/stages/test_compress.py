"""The compress stage: lookup tables that give the same weights and outputs on TFLite Micro."""

import numpy as np
import pytest

from pipeline.core.errors import EdgepipeError, StageError
from pipeline.stages.compress import Compress
from pipeline.stages.convert import Convert
from pipeline.verify import measurement
from pipeline.verify.interpreters import litert, tflm
from pipeline.verify.runtimes import comparison
from tests.support.stages import DATA, rows, weights


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
    base, *others = comparison.compare(path, x, y, DATA.spec(), raw).facts
    assert (base.runtime, base.base, base.examples) == ("tflm", True, 40)
    assert all("TFLM_DECODE" in other.unavailable and other.accuracy is None for other in others)


def test_weights_with_many_values_are_refused(runner, trained):
    pytest.importorskip("tflite_micro")
    plain = runner(Convert(stage="convert", quantization="float32"), trained)
    with pytest.raises(StageError, match=r"no weights have so few different values"):
        runner(Compress(stage="compress"), plain)
