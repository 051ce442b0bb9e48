"""What is told of the networks before the first training: everything that is wrong, at its place, at once."""

import numpy as np
import pytest

from pipeline.config import config
from pipeline.core.errors import ConfigError, InputError
from pipeline.core.store import Store
from pipeline.engine import preflight
from pipeline.engine.plan import plan
from pipeline.engine.run import run
from tests.support.pipelines import HEAD

pytestmark = pytest.mark.slow


class Recorder:
    """A watcher that remembers what it was told."""

    def __init__(self):
        self.told = []

    def __getattr__(self, name):
        return lambda *arguments: self.told.append((name, *arguments))


@pytest.fixture
def examined(written, tmp_path):
    """Runs a list of stages, which has to end before anything starts; gives the notes, or the error's lines."""

    def examine(stages, kind=None, *overrides):
        document = written(HEAD + stages)
        loaded, document = config.load(document, overrides)
        steps, notes = plan(loaded, document), []
        if kind is None:
            missing, log = range(len(steps)), tmp_path / "log"
            preflight.examine(loaded, document, steps, missing, log, lambda *note: notes.append(note))
            return notes
        watcher = Recorder()
        with pytest.raises(kind) as caught:
            run(loaded, document, steps, Store(tmp_path / "store"), tmp_path / "log", watcher)
        assert [what for what, *_ in watcher.told if what not in ("note", "doing")] == []
        return [str(fault).replace("\n    ", "; ").removeprefix(f"{document.name}:") for fault in caught.value.faults]

    return examine


FAULTY = """\
- {stage: train, name: big, epochs: 9, model: {source: resnet8}}
- {stage: train, epochs: 9}
- {stage: distill, teacher: big, epochs: 9, features: {stem: conv1, relu: conv2}}
- {stage: channel_prune, epochs: 9, keep_macs: 0.01, layers: {relu1: 0.5}}
- {stage: prune, sparsity: 0.5, epochs: 9, skip: [conv9]}
- {stage: convert, quantization: int8, keep_int16: [conv1, conv8], keep_float: [SOFT*]}
- {stage: cluster, from: train, clusters: 16, epochs: 9, min_weights: 100000}
- {stage: qat, weight_bits: 4, keep_8: [logit], epochs: 9}
"""
EXPECTED = [
    "7:45: stages.distill.features: the teacher has no layer 'relu'; did you mean 'stem_relu'?",
    "8:54: stages.channel_prune.layers: no layer that makes channels matches 'relu1'; known: conv1, conv2, conv3, log",
    "8:3: stages.channel_prune: keep_macs must be at least 0.0",
    "9:44: stages.prune.skip: no layer matches 'conv9'; did you mean 'conv",
    "10:40: stages.convert.keep_int16: no layer matches 'conv8'; did you mean 'conv",
    "11:3: stages.cluster: there is no layer to cluster (received conv1: has 144 weights; min_weights is 100000; norm1",
    "12:32: stages.qat.keep_8: no layer matches 'logit'; did you mean 'logits'?",
]  # fmt: skip


def test_all_that_is_wrong_with_the_networks_is_told_before_the_first_training(examined):
    lines = examined(FAULTY, ConfigError)
    assert len(lines) == len(EXPECTED), lines
    for line, expected in zip(lines, EXPECTED, strict=True):
        assert line.startswith(expected), lines


def test_budgets_that_no_rung_can_keep_are_told_before_the_first_training(examined):
    lines = examined("""\
- {stage: train, epochs: 9}
- {stage: auto, name: a, max_macs: 5000, keep_macs: 0.9}
- {stage: auto, name: b, from: train, max_macs: 5000, rungs: [ptq, qat]}
- {stage: auto, name: c, from: train, max_bytes: 100, rungs: [ptq, qat]}
- {stage: auto, name: d, from: train, max_macs: 100}
- {stage: auto, name: e, from: train, max_bytes: 100000, keep_macs: 0.001}
- {stage: auto, name: f, from: train, max_drop: 0.001}
""", ConfigError)  # fmt: skip
    drop = lines.pop(0)
    assert drop.startswith("11:39: stages.f.max_drop: a drop of 0.10 points can't be told with 99.5 %")
    smaller = "these rungs make no network smaller (received"
    expected = [
        "6:42: stages.a.keep_macs: must not leave more than max_macs (received 0.9 of",
        f"7:39: stages.b.max_macs: {smaller} 5000, and the network has",
        f"8:39: stages.c.max_bytes: {smaller} 100, and the network has",
        "9:39: stages.d.max_macs: is out of reach for channel_qat: keep_macs must be at least 0.",
        "10:58: stages.e.keep_macs: is out of reach for channel_qat: keep_macs must be at least 0.",
    ]
    assert len(lines) == len(expected), lines
    for line, start in zip(lines, expected, strict=True):
        assert line.startswith(start), line


def save_models(send, folder):
    """Networks for the digits: without weights, with a layer unknown to qat, and some that TensorFlow refuses."""
    from pipeline.keras import tf

    tf.start(0)
    import tensorflow
    import tf_keras
    from tf_keras import Model, Sequential, layers

    crop = [layers.Flatten(), layers.Reshape((64, 1)), layers.Cropping1D((0, 54)), layers.Flatten(), layers.Softmax()]
    Sequential([layers.InputLayer((8, 8, 1)), *crop]).save(folder / "empty.h5")
    dense = [layers.Flatten(), layers.Dense(20, name="a"), layers.UnitNormalization(name="n"), layers.Dense(10)]
    Sequential([layers.InputLayer((8, 8, 1)), *dense]).save(folder / "odd.h5")
    x = inputs = layers.Input((8, 8, 1))
    x = layers.ConvLSTM2D(2, 3, name="loop")(layers.Reshape((2, 4, 8, 1))(x))
    x = tf_keras.Model(x_in := layers.Input(x.shape[1:]), layers.ELU(name="elu")(x_in))(x)  # in a nested model
    Model(inputs, layers.Dense(10)(layers.Flatten()(x))).save(folder / "loop.h5")
    x = tensorflow.reshape(layers.Flatten()(inputs), (8, 64), name="fixed")
    Model(inputs, layers.Dense(10)(x)).save(folder / "fixed.h5")


@pytest.fixture(scope="module")
def saved(in_child, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    in_child(save_models, folder)
    return folder


def test_a_model_without_weights_is_told_before_the_first_training(examined, saved):
    (empty,) = examined("- {stage: train, epochs: 9}", InputError, f"model={{source: file, path: {saved}/empty.h5}}")
    assert empty == "3:1: model: must have weights to train (received 0, and none of them trainable)"


def test_a_config_is_refused_whatever_the_store_has(written, tmp_path):
    store, text = Store(tmp_path / "store"), HEAD + "- {stage: train, epochs: 0}\n"

    def made(text):
        loaded, document = config.load(written(text))
        return run(loaded, document, plan(loaded, document), store, tmp_path / "log", Recorder())

    made(text)
    with pytest.raises(ConfigError, match=r"keep_int16: no layer matches 'conv9'"):
        made(text + "- {stage: convert, quantization: int8, keep_int16: [conv9]}\n")


def test_layers_that_qat_leaves_are_told_and_sizes_that_are_not_known_yet_are_not_judged(examined, saved):
    found = examined(f"""\
- {{stage: train, name: odd, epochs: 9, model: {{source: file, path: {saved}/odd.h5}}}}
- {{stage: qat, epochs: 9}}
- {{stage: train, epochs: 9}}
- {{stage: channel_prune, epochs: 9, keep: 0.5}}
- {{stage: prune, epochs: 9, sparsity: 0.5, block_size: [3, 1], prune_output: true, min_weights: 0}}
""")
    reason = "there is no training with 8-bit rounding for UnitNormalization"
    assert found == [("qat", f"will leave 1 layer to calibration: n: {reason}")]


def test_what_the_converter_refuses_or_dies_of_is_told_before_the_first_training(examined, saved):
    stages = """\
- {stage: train, epochs: 9}
- {stage: convert, name: float, quantization: float32}
- {stage: convert, name: small, from: train, quantization: int8}
- {stage: convert, name: fine, from: train, quantization: int16x8}
"""
    crash, *others = examined(stages, InputError, f"model={{source: file, path: {saved}/loop.h5}}")
    assert crash.startswith(
        "7:46: stages.small.quantization: the converter can't make int8 of this network (received layer 'loop' "
        "(ConvLSTM2D): a fault of the converter, which ended by signal 11, SIGSEGV); the calibrator can't take loops"
    )
    assert all("'loop' (ConvLSTM2D), 'elu' (ELU)" in line for line in others)


def test_a_batch_that_is_fixed_by_an_operation_is_told_before_the_first_training(examined, saved):
    (line,) = examined("- {stage: train, epochs: 9}", InputError, f"model={{source: file, path: {saved}/fixed.h5}}")
    assert line.startswith("5:3: stages.train: TensorFlow can't train this network on this machine (received layer ")
    assert "(TFOpLambda): InvalidArgumentError" in line


def convert_well_known(send):
    """Convert a network of well-known layers to each quantization; sends the names of those that are unusual."""
    from pipeline.keras import tf, trial
    from pipeline.keras.conversion.request import Request
    from pipeline.keras.well_known import unusual

    tf.start(0)
    import tensorflow
    from tf_keras import Model
    from tf_keras import layers as L  # noqa: N812

    inputs = L.Input((16, 16, 3))
    x = L.RandomFlip()(L.Rescaling(2.0, offset=-1)(inputs))
    x = L.BatchNormalization()(L.Conv2D(8, 3, activation="relu", dilation_rate=2)(x))
    x = L.ReLU(6.0)(L.DepthwiseConv2D(3, padding="same")(L.ZeroPadding2D()(x)))
    x = L.Multiply()([x, L.Activation("sigmoid")(L.SeparableConv2D(8, 3, padding="same")(x))])
    x = L.Add()([L.MaxPooling2D()(x), L.AveragePooling2D()(L.Activation("tanh")(x))])
    x = L.Concatenate()([L.Conv2DTranspose(4, 3, strides=2)(x), L.Conv2DTranspose(4, 3, strides=2)(x)])
    x = tensorflow.nn.relu6(L.Conv2D(8, 3, activation="swish")(L.Cropping2D()(L.UpSampling2D()(x))) + 3.0) * 0.5
    line = L.Conv1D(8, 3)(L.Reshape((-1, 8))(x))
    ends = [L.GlobalAveragePooling2D()(x), L.GlobalMaxPooling2D()(x)]
    ends += [L.GlobalAveragePooling1D()(L.AveragePooling1D()(line)), L.GlobalMaxPooling1D()(L.MaxPooling1D()(line))]
    x = L.Flatten()(L.Permute((2, 1))(L.Reshape((4, 8))(L.Dropout(0.1)(L.Concatenate()(ends)))))
    model = Model(inputs, L.Softmax()(L.Dense(4)(x)))
    send([layer.name for layer in unusual(model)])
    examples = np.random.default_rng(0).random((3, 16, 16, 3), dtype=np.float32)
    for quantization, port in (("float32", "float32"), ("dynamic", "float32"), ("int8", "int8"), ("int16x8", "int16")):
        send(list(trial.convert(model, Request(quantization, port, True, True, "minmax", 0.9999), examples, False)))


def test_well_known_layers_convert_to_every_quantization(in_child):
    assert in_child(convert_well_known) == [[], [], [], [], []]
