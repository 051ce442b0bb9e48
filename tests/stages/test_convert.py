"""The convert stage: ranges by an estimator, one scale for a kernel, layers of another type."""

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline import tflite
from pipeline.core.errors import StageError
from pipeline.keras.conversion.calibration import Calibration, draw
from pipeline.keras.conversion.estimators import BATCH, Histogram, estimate
from pipeline.keras.conversion.named_ops import NamedOps
from pipeline.stages.convert import Convert
from pipeline.stages.qat import Qat
from pipeline.tflite.int16 import widened
from pipeline.verify import int8
from pipeline.verify.interpreters import litert, tflm
from tests.support.stages import DATA, facts

X, _ = DATA.split("test").batch(np.arange(100))
SAMPLE = draw(DATA, Calibration(samples=60), 3).x  # the seed of the runner


class Converter:
    """Runs convert stages on one trained network."""

    def __init__(self, runner, trained):
        self.runner, self.trained = runner, trained
        self.exact = self(quantization="float32", calibration=None)[0]
        self.plain = self()[0]

    def __call__(self, **settings):
        """The finished file and the stage's facts."""
        stage = {"stage": "convert", "quantization": "int8", "calibration": {"samples": len(SAMPLE)}} | settings
        made = self.runner(Convert.model_validate(stage).aimed_at(None), self.trained)
        return tflite.read(made.path / "model.tflite"), facts(made)

    def error(self, model, kernels="reference"):
        """Mean distance of the outputs from the float file's."""
        given = tflm.run(model, X) if kernels == "tflm" else litert.run(model, X, kernels)
        return float(np.abs(given - litert.run(self.exact, X)).mean())


@pytest.fixture(scope="module")
def convert(runner, trained):
    return Converter(runner, trained)


def scales(model):
    """Of what each op computes that chooses its range, by tensor name."""
    ops = (op for op in model.ops if op.name in ("CONV_2D", "FULLY_CONNECTED"))
    return {op.outputs[0].name: op.outputs[0].scale for op in ops}


@pytest.mark.parametrize(
    "ranges",
    [{"ranges": "percentile", "percentile": 0.99}, {"ranges": "mse"}, {"ranges": "kl"}, {"ranges": "moving_average"}],
)
def test_the_scales_in_the_file_are_those_that_were_chosen(convert, ranges):
    """Each is (high - low) / 255 of what the estimator says of the float file's values."""
    model, told = convert(calibration={"samples": len(SAMPLE), **ranges})
    named = {tensor.name: tensor for tensor in convert.exact.subgraphs[0].tensors}
    runner = litert.Runner(convert.exact, "builtin", keep=True)
    values = runner.observe(SAMPLE, {name: named[name] for name in scales(model)})
    for name, scale in scales(model).items():
        seen = Histogram(float(values[name].min()), float(values[name].max()))
        for start in range(0, len(SAMPLE), BATCH):
            seen.add(values[name][start : start + BATCH])
        low, high = estimate(ranges["ranges"], seen, ranges.get("percentile", 0))
        assert scale == pytest.approx((high - low) / 255, rel=1e-3)
    assert sum(scales(model).values()) < sum(scales(convert.plain).values())
    assert (model.quantization, model.integer_only) == ("int8", True)
    assert told["calibration"]["ranges"] == ranges["ranges"]
    assert convert.error(model) < 0.03


def test_weights_have_one_scale_where_per_channel_is_false(convert):
    model, _ = convert(per_channel=False)
    assert [len(tensor.scales) for op in convert.plain.ops for tensor in op.weights] == [4, 8, 16, 10]
    assert [len(tensor.scales) for op in model.ops for tensor in op.weights] == [1, 1, 1, 1]
    hybrid, _ = convert(quantization="dynamic", per_channel=False, calibration=None)
    assert [len(tensor.scales) for op in hybrid.ops for tensor in op.weights if tensor.scales] == [1]


def test_training_with_one_scale_needs_folded_normalisation(runner, trained):
    with pytest.raises(StageError, match=r"batch normalisation is folded into its kernels \(received norm1, norm2"):
        runner(Qat(stage="qat", epochs=1, per_channel=False), trained)


def test_layers_that_are_kept_float_read_and_write_floats_and_no_others(convert):
    model, told = convert(keep_float=("conv2", "SOFTMAX"), io="float32")
    computing = [op for op in model.ops if op.name not in ("QUANTIZE", "DEQUANTIZE")]
    kept = [op.name for op in computing if op.outputs[0].dtype == "FLOAT32"]
    assert kept == ["CONV_2D", "SOFTMAX"]
    assert (model.quantization, model.integer_only) == ("mixed", False)
    assert told["notes"] == ["float32 as asked: conv2 (CONV_2D), scores (SOFTMAX)"]
    for name, scale in scales(model).items():
        assert scale in (None, scales(convert.plain)[name])  # the rest is what the converter makes of it alone
    for kernels in ("xnnpack", "builtin", "reference", "tflm"):
        assert convert.error(model, kernels) < 0.9 * convert.error(convert.plain, kernels)


@pytest.fixture(scope="module", params=["uint8", "float32"])
def finer(convert, request):
    """A file with all layers that compute in 16 bits, and the stage's facts, for inputs and outputs of one type."""
    return (*convert(keep_int16=("conv*", "pool*", "logits", "scores"), io=request.param), request.param)


def test_layers_that_are_kept_int16_are_told_and_are_no_others(finer):
    model, told, io = finer
    assert told["notes"] == [
        "int16 as asked: conv1 (CONV_2D), pool1 (MAX_POOL_2D), conv2 (CONV_2D), pool2 (MAX_POOL_2D), conv3 (CONV_2D), "
        "logits (FULLY_CONNECTED), scores (SOFTMAX)"
    ]
    written = {op.name: op.outputs[0].dtype for op in model.ops}
    assert written.pop("RESHAPE") == "INT8"
    assert {written[name] for name in ("CONV_2D", "MAX_POOL_2D", "FULLY_CONNECTED", "SOFTMAX")} == {"INT16"}
    assert {tensor.dtype for op in model.ops for tensor in op.weights} == {"INT8"}
    assert (model.quantization, model.integer_only) == ("mixed", io != "float32")


def test_a_file_with_int16_layers_is_sound(finer):
    model, _, _ = finer
    assert [str(found) for found in int8.breaches(model) if found.severity == "fail" and found.rule != "R1"] == []
    assert not set(model.subgraphs[0].tensors) - {t for op in model.ops for t in (*op.reads, *op.outputs)}


def test_layers_that_are_kept_int16_run_on_every_runtime(convert, finer):
    model, _, io = finer
    errors = [convert.error(model, kernels) for kernels in ("xnnpack", "builtin", "reference", "tflm")]
    assert np.ptp(errors) < 1e-4
    if io == "float32":  # 8 bits of the softmax are most of the error elsewhere
        assert max(errors) < 0.5 * convert.error(convert.plain)


def test_layers_that_can_not_be_kept_are_one_clear_error(convert):
    plain, exact = (NamedOps(model.content) for model in (convert.plain, convert.exact))
    with pytest.raises(StageError, match="keep_float: no layer and no op matches 'conv22'; did you mean 'conv2'"):
        plain.kept(("conv1", "conv22"), "keep_float", "")
    with pytest.raises(StageError, match=r"must leave some layers \(received all ops of the file\); set this"):
        plain.kept(("*",), "keep_int16", "this")
    with pytest.raises(StageError, match=r"conv1 can't be int16 \(received CONV_2D, which is not int8 in the file\)"):
        widened(convert.exact.content, exact.matching(("conv1",)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"quantization": "int16x8", "calibration": {"ranges": "mse"}},
            "calibration.ranges: must be minmax for int16x8",
        ),
        (
            {"calibration": {"ranges": "mse", "percentile": 0.9}},
            "calibration.percentile: has no effect where ranges is mse",
        ),
        ({"quantization": "int16x8", "per_channel": False}, "per_channel: must be true for int16x8; false is for"),
        ({"per_channel": False, "per_channel_dense": True}, "per_channel_dense: can't be true where per_channel is"),
        ({"quantization": "float16", "keep_float": ("conv1",)}, "keep_float: is for int8 files alone"),
        ({"quantization": "int16x8", "keep_int16": ("conv1",)}, "keep_int16: is for int8 files alone"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        Convert.model_validate({"stage": "convert", "quantization": "int8"} | settings)


def halved(send, folder):
    """The largest mean shifts of a channel that a second correction finds in each half's file, and in a plain one."""
    from pipeline.keras import tf
    from pipeline.keras.conversion import bias_correction
    from pipeline.keras.conversion.calibration import draw
    from pipeline.keras.conversion.conversion import Conversion
    from pipeline.stages import conversion as stage

    tf.start(3)
    calibration = Calibration(halves=True, samples=64)
    request = Convert(stage="convert", quantization="int8").plain()
    whole = Conversion(request, tf.load_model(folder / "model.h5"), DATA.spec().shape)
    sample, files = draw(DATA, calibration, 3), []
    decided, stage.decided = stage.decided, lambda made, *rest: files.extend(made) or decided(made, *rest)
    found = stage._halves(whole, sample, DATA, True)
    plain = whole.converter().convert()
    halves = (sample.x[0::2], sample.x[1::2])
    uncorrected = [whole.content(half) for half in halves]

    def shift(content, half):
        rows = bias_correction.corrected(content, plain, half, lambda progress: None)[1]
        return max(row["shift_before"] for row in rows if row["done"])

    send((list(map(shift, files, halves)), list(map(shift, uncorrected, halves)), found))


def test_halves_are_of_files_whose_biases_are_corrected_each_on_its_own_half(in_child, trained):
    ((corrected, plain, found),) = in_child(halved, trained.path)
    assert len(corrected) == 2
    assert all(now < before / 2 for now, before in zip(corrected, plain, strict=True))
    assert found["accuracy_spread"] == abs(found["accuracy"][0] - found["accuracy"][1])
