"""Recurrent layers and wrappers: what replaces them computes the same, and their int8 files are right."""

import numpy as np
import pytest

from pipeline import tflite
from pipeline.keras.conversion.conversion import Conversion
from pipeline.keras.conversion.request import Request
from pipeline.keras.conversion.unrolling import unroll
from pipeline.keras.surgery.flat import flat
from pipeline.keras.surgery.plain import Plain
from pipeline.keras.surgery.quantizers import Quantized
from pipeline.tflite.scales import LSTM, STATE
from pipeline.verify.interpreters import litert

X = np.random.default_rng(0).normal(size=(48, 12, 3)).astype(np.float32)
PICTURES = np.random.default_rng(0).normal(size=(4, 5, 6, 6, 2)).astype(np.float32)


def request(quantization):
    return Request(quantization, quantization[:5].rstrip("x"), True, True, "minmax", 99.9)


def nets():
    """Networks by name, each with examples."""
    import tf_keras as keras
    from tf_keras import layers as k

    def net(*layers, x=X):
        keras.utils.set_random_seed(3)
        y = i = k.Input(x.shape[1:])
        for layer in layers:
            y = layer(y)
        model, random = keras.Model(i, y), np.random.default_rng(4)
        for weight in model.weights:
            if "bias" in weight.name:  # the converter leaves a constant of zeros float, which no trained network has
                weight.assign(random.normal(0, 0.1, weight.shape))
        return model, x

    inner = keras.Sequential([k.Conv2D(3, 3, activation="relu"), k.GlobalAveragePooling2D()], name="inner")
    norm = k.TimeDistributed(k.BatchNormalization())
    return {
        "concat": net(k.Bidirectional(k.LSTM(4)), k.Dense(3)),
        "sequences": net(k.Bidirectional(k.LSTM(4, return_sequences=True)), k.Dense(3)),
        "sum": net(k.Bidirectional(k.GRU(4, return_sequences=True), merge_mode="sum"), k.LSTM(3)),
        "ave": net(k.Bidirectional(k.SimpleRNN(4), merge_mode="ave")),
        "mul": net(k.Bidirectional(k.LSTM(4), backward_layer=k.GRU(4, go_backwards=True), merge_mode="mul")),
        "dense": net(k.TimeDistributed(k.Dense(4, activation="relu")), norm, k.LSTM(3)),
        "pictures": net(k.TimeDistributed(k.Conv2D(2, 3)), k.TimeDistributed(k.Flatten()), k.GRU(3), x=PICTURES),
        "model": net(k.TimeDistributed(inner), k.LSTM(3), x=PICTURES),
    }


def flatten(send):
    for name, (model, x) in nets().items():
        network = flat(model)
        difference = float(np.abs(network(x).numpy() - model(x).numpy()).max())
        send(
            (
                name,
                difference,
                [type(layer).__name__ for layer in network.layers],
                network.output_names == model.output_names,
            )
        )


def test_wrappers_are_replaced_by_layers_that_compute_the_same(in_child):
    for name, difference, kinds, named in in_child(flatten):
        assert difference < 1e-6, name
        assert not {"Bidirectional", "TimeDistributed", "Sequential"} & {*kinds}, name
        assert named, name


def convert(send, names, quantization):
    for name in names:
        model, x = nets()[name]
        model = flat(model)
        unroll(model, quantization, 64)
        content = Conversion(request(quantization), model, x.shape[1:]).content(x)
        expected = model(x).numpy()
        noise = litert.run(content, x) - expected
        send((name, content, 10 * np.log10((expected**2).sum() / (noise**2).sum())))


def test_an_int8_file_of_a_bidirectional_lstm_computes_what_the_network_does(in_child):
    for name, content, decibel in in_child(convert, ["concat", "sequences"], "int8"):
        model = tflite.read(content)
        assert model.integer_only, name
        assert decibel > 25, name
        for op in model.ops:
            if op.name == LSTM:
                step = op.intermediates[-1]
                assert {(each.scale, each.zero_point) for each in (step, op.inputs[STATE], op.outputs[0])} == {
                    (step.scale, step.zero_point)
                }


@pytest.mark.parametrize("quantization", ["int8", "int16x8"])
def test_layers_without_an_op_of_their_own_are_unrolled(in_child, quantization):
    for name, content, decibel in in_child(convert, ["sum", "ave", "pictures"], quantization):
        model = tflite.read(content)
        assert "WHILE" not in {op.name for op in model.ops}, name
        assert model.integer_only, name
        assert decibel > (20 if quantization == "int8" else 35), name


def round_and_back(send):
    """Share of zeros in each kernel before and behind the wrappers, and how far the plain network is from the first."""
    model, x = nets()["concat"]
    network = flat(model)
    for layer in network.layers:
        if hasattr(layer, "cell"):
            kernel, recurrent, bias = layer.get_weights()
            kernel[:, ::2] = 0
            layer.set_weights([kernel, recurrent, bias])
    expected = network(x).numpy()
    wrapped = Quantized(preserve=True)
    quantized = wrapped.model(network)
    wrapped.set_ranges(dict.fromkeys(wrapped.ranged, (-2.0, 2.0)))
    quantized.compile("sgd", "mse")
    quantized.fit(x, np.ones((len(x), 3)), epochs=2, verbose=0)
    kernels = [
        (w.numpy() * v["sparsity_mask"], w.name) for q in quantized.layers for w, _, v in getattr(q, "_weight_vars", ())
    ]
    zeros = [
        float(np.mean(np.asarray(kernel) == 0))
        for kernel, name in kernels
        if name.endswith("/kernel:0") and "lstm" in name
    ]
    plain = Plain().model(quantized)
    send(
        (
            wrapped.left,
            zeros,
            [type(layer).__name__ for layer in plain.layers],
            plain.output_names == model.output_names,
        )
    )
    send(float(np.abs(plain(x).numpy() - expected).max()))


def test_kernels_of_an_lstm_are_trained_with_rounding_and_keep_their_zeros(in_child):
    (left, zeros, kinds, named), moved = in_child(round_and_back)
    assert not left
    assert zeros == [0.5, 0.5]
    assert not [kind for kind in kinds if "Quantize" in kind]
    assert named
    assert 0 < moved < 1


CONFIG = """
name: tiny
seed: 5
data: {source: npz, path: data.npz}
model: {source: file, path: own.h5}
stages:
  - {stage: train, epochs: 4, learning_rate: 0.01}
  - {stage: convert, name: float, quantization: float32}
  - {stage: prune, from: train, sparsity: 0.5, epochs: 2, min_weights: 50}
  - {stage: qat, epochs: 1, learning_rate: 0.001}
  - {stage: convert, name: small, quantization: int8}
  - {stage: verify, of: [small], baseline: float, checks: [{check: integer_only}, {check: int8_spec}]}
"""


def save(send, path, steps):
    import tf_keras as keras
    from tf_keras import layers as k

    keras.utils.set_random_seed(1)
    i = k.Input((steps, 3))
    y = k.Bidirectional(k.LSTM(6, return_sequences=True))(k.TimeDistributed(k.Dense(6, activation="relu"))(i))
    keras.Model(i, k.Dense(2, activation="softmax")(k.GRU(6)(y))).save(path)


def data(path, steps=12):
    random = np.random.default_rng(0)
    y = random.integers(0, 2, 300)
    x = (random.normal(size=(300, steps, 3)) + y[:, None, None]).astype(np.float32)
    np.savez(path, x_train=x, y_train=y)


def test_a_recurrent_network_goes_through_every_stage_to_a_file_of_integers(pipeline, in_child):
    ran = pipeline(CONFIG)
    in_child(save, ran.folder / "own.h5", 12)
    data(ran.folder / "data.npz")
    ran.run()
    report = ran.report
    assert {result.status for result in report.checks} == {"pass"}
    small = next(model for model in report.models if model.name == "small")
    assert small.ops["UNIDIRECTIONAL_SEQUENCE_LSTM"] == 2
    assert small.metrics["accuracy"] > 0.9
    assert all(row.accuracy > 0.9 for row in small.runtimes)


def test_a_sequence_too_long_to_unroll_is_told_before_training(pipeline, in_child):
    at_once = "  - {stage: convert, name: ptq, from: train, quantization: int8, unroll: 8}\n  - {stage: prune"
    ran = pipeline(CONFIG.replace("  - {stage: prune", at_once))
    in_child(save, ran.folder / "own.h5", 12)
    data(ran.folder / "data.npz")
    _, err = ran.run(code=2)
    assert "train: starts" not in err
    assert "GRU gru must be unrolled for int8, 8 steps at most (received 12 steps)" in err
