"""One file on every runtime, in processes of their own."""

import numpy as np
import pytest

from pipeline import tflite
from pipeline.data.spec import Spec
from pipeline.verify.interpreters import litert
from pipeline.verify.runtimes import comparison
from pipeline.verify.runtimes.runtime import RUNTIMES


@pytest.fixture(scope="module")
def labels(models, images):
    return litert.run(models["int8"], images).reshape(20, -1).argmax(axis=1)


def compared(path, x, y, count):
    """The facts of each runtime by its name, for data with that many labels."""
    spec = Spec(x.shape[1:], tuple(map(str, range(count))))
    return {facts.runtime: facts for facts in comparison.compare(path, x, y, spec, litert.raw(path, x)).facts}


@pytest.fixture(scope="module")
def found(models, images, labels):
    return compared(models["int8"], images, labels, 10)


@pytest.mark.parametrize("runtime", ["reference", "tflm"])
def test_each_runtime_is_compared_with_xnnpack(found, runtime):
    if runtime == "tflm":
        pytest.importorskip("tflite_micro", reason="TFLM needs the tflite_micro package")
    facts = found[runtime]
    assert found["xnnpack"].accuracy == 1.0
    assert (facts.unavailable, facts.examples) == ("", 20)
    assert facts.accuracy == facts.score == 1 - facts.flips / 20
    assert facts.max_lsb is not None
    assert 0 <= facts.differ <= 1


def test_rows_differ_as_the_raw_outputs_do(found, models, images):
    raw = litert.Runner(models["int8"], kernels="reference").raw({"image": images})
    (reference,) = raw.values()
    (default,) = litert.Runner(models["int8"]).raw({"image": images}).values()
    assert found["reference"].differ == np.mean(reference != default)
    assert found["reference"].max_lsb == np.abs(reference.astype(int) - default.astype(int)).max()


def test_a_runtime_that_can_not_run_the_file_says_why(models, images):
    found = compared(models["elu"], images[:, :8, :8], np.arange(20) % 3, 3)
    assert "ELU" in found["reference"].unavailable
    assert str(models["elu"]) not in found["reference"].unavailable  # a result holds no path of the machine
    assert found["reference"].accuracy is None


@pytest.mark.parametrize("runtime", ["reference", "tflm"])
def test_all_cores_together_give_the_outputs_of_one_in_order(models, images, monkeypatch, runtime):
    if runtime == "tflm":
        pytest.importorskip("tflite_micro", reason="TFLM needs the tflite_micro package")
    alone = comparison.outputs(models["int8"], images, runtime)
    monkeypatch.setattr(comparison, "WORTH", 1)
    assert np.array_equal(comparison.outputs(models["int8"], images, runtime), alone)


def test_a_slow_runtime_is_given_a_sample_that_depends_on_the_model_alone(models):
    model = tflite.read(models["int8"])
    assert comparison.sample(model, "xnnpack", 10**9) == 10**9
    assert comparison.sample(model, "tflm", 10**9) == RUNTIMES["tflm"].budget // model.macs
    assert comparison.sample(model, "tflm", 5) == 5
