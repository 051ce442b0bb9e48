"""Layers that TensorFlow's converter refuses, leaves float, or rounds beyond use, in files without training for it."""

from typing import Any

import pytest

from tests.support.surgery_nets import INT8

SEQUENCE, FRAMES = (6, 8), (4, 5, 4, 2)


def measure(send: Any) -> None:
    """Send figures of each network's int8 file, by the names of the networks."""
    from pipeline.keras import tf
    from pipeline.keras.surgery import convertible

    tf.start(0)
    import tf_keras as keras
    from tf_keras import layers as l

    def frames(x: Any) -> Any:
        x = l.ReLU()(l.BatchNormalization()(l.Conv3D(4, 3, padding="same")(x)))
        return l.Dense(3)(l.Flatten()(l.AveragePooling3D((2, 1, 2))(l.MaxPooling3D((1, 2, 1), padding="same")(x))))

    nested = keras.Sequential([l.InputLayer(FRAMES), l.Conv3D(2, 2, activation="softplus")], name="nested")
    networks = {
        "causal": (SEQUENCE, lambda x: l.Dense(3)(l.Flatten()(l.MultiHeadAttention(2, 8)(x, x, use_causal_mask=True)))),
        "causal, without kernels": (SEQUENCE, lambda x: l.Attention()([x, x], use_causal_mask=True)),
        "frames": (FRAMES, frames),
        "nested": (FRAMES, lambda x: l.Dense(3)(l.Flatten()(nested(x)))),
        "plain": (SEQUENCE, lambda x: l.MultiHeadAttention(2, 8)(x, x)),
    }
    figures = {name: _measured(*network) for name, network in networks.items()}
    x = keras.Input(FRAMES)
    y = l.Conv3DTranspose(2, 2, name="up")(l.Conv3D(2, 2, name="fits")(x))
    y = l.Conv3D(2, 2, padding="same", dilation_rate=2, name="dilated")(y)
    send(figures | {"floats": list(convertible.floats(keras.Model(x, y)))})


def _measured(shape: tuple[int, ...], function: Any) -> dict[str, Any]:
    import dataclasses

    import numpy as np
    import tf_keras as keras

    from pipeline import tflite
    from pipeline.keras.conversion.conversion import Conversion
    from pipeline.keras.surgery.convertible import convertible
    from pipeline.verify.interpreters import litert, tflm
    from pipeline.verify.sqnr import sqnr_db

    rng = np.random.default_rng(0)
    inputs = keras.Input(shape, name="x")
    model = keras.Model(inputs, function(inputs))
    for weight in model.weights:
        weight.assign(weight + rng.normal(0, 0.3, weight.shape) * (0 if "variance" in weight.name else 1))
    x = rng.normal(size=(64, *shape)).astype(np.float32)
    exact = np.asarray(model(x, training=False))
    power = float(np.sum(exact**2))
    made, origin = convertible(model, integer=True, x=x)
    content = Conversion(INT8, made, shape, origin).content(x)
    float32 = dataclasses.replace(INT8, quantization="float32", port="float32")
    plain = Conversion(float32, convertible(model, integer=False)[0], shape).content(None)
    return {
        "integer_only": tflite.read(content).integer_only,
        "sqnr": [sqnr_db(power, float(np.sum((run(content, x) - exact) ** 2))) for run in (litert.run, tflm.run)],
        "float": float(np.abs(litert.run(plain, x) - exact).max()),
        "same": made is model,
        "names": made.output_names == model.output_names,
    }


@pytest.fixture(scope="module")
def measured(in_child: Any) -> dict[str, Any]:
    """Figures by the names of the networks."""
    (found,) = in_child(measure)
    return dict(found)


@pytest.mark.parametrize("name", ["causal", "causal, without kernels", "frames", "nested", "plain"])
def test_files_are_integer_only_and_right_on_both_runtimes(measured: dict[str, Any], name: str) -> None:
    found = measured[name]
    assert found["integer_only"]
    assert min(found["sqnr"]) > 28  # a causal mask of -1e9, as Keras has it, leaves 2 to 19 dB
    assert found["float"] < 1e-4
    assert found["names"]


def test_what_the_converter_takes_as_it_is_stays(measured: dict[str, Any]) -> None:
    assert [name for name, found in measured.items() if name != "floats" and found["same"]] == ["plain"]


def test_what_stays_float_is_known_before_training(measured: dict[str, Any]) -> None:
    assert measured["floats"] == ["up (Conv3DTranspose)", "dilated (Conv3D)"]
