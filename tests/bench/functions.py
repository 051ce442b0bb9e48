"""Activation functions in int8 files, a table row each: the ops, and the error against Keras on LiteRT and on TFLM.

Each is a network of its own, on normal values with a standard deviation of 2. An error is in steps of the output.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from pipeline import tflite
from pipeline.keras import tf
from pipeline.keras.conversion.request import Request
from pipeline.tflite.values import dequantize, quantize
from pipeline.verify.interpreters import litert, tflm
from pipeline.verify.sqnr import sqnr_db

SHAPE = (8, 8)
INT8 = Request("int8", "int8", per_channel=True, per_channel_dense=True, estimator="minmax", percentile=1)


def functions() -> dict[str, Callable[[Any], Any]]:
    """Activation functions by name, each as a function of a Keras tensor."""
    import tensorflow as tf
    from tf_keras import layers as l

    names = ("elu", "selu", "softplus", "softsign", "mish", "gelu", "exponential", "swish", "hard_sigmoid", "sigmoid")
    named = {name: (lambda x, name=name: l.Activation(name)(x)) for name in (*names, "tanh", "relu6")}
    return named | {
        "gelu, approximate": lambda x: tf.nn.gelu(x, approximate=True),
        "hard swish": lambda x: x * l.ReLU(6.0)(x + 3.0) * (1 / 6.0),
        "log sigmoid": tf.math.log_sigmoid,
        "sin": tf.math.sin,
        "floor": tf.math.floor,
        "square root of |x|": lambda x: tf.sqrt(tf.abs(x)),
        "ELU(alpha=0.5)": l.ELU(alpha=0.5),
        "LeakyReLU": l.LeakyReLU(),
        "PReLU": l.PReLU(alpha_initializer="uniform"),
        "ThresholdedReLU": l.ThresholdedReLU(0.7),
    }


def measure(send: Callable[[dict[str, dict[str, Any]]], None]) -> None:
    """Send figures of each function's int8 file, by the names of the functions."""
    tf.start(0)
    send({name: _measured(function) for name, function in functions().items()})


def _measured(function: Callable[[Any], Any]) -> dict[str, Any]:
    """The ops of the file, and on each runtime the SQNR in decibels and the largest error in steps of the output.

    The reference is the Keras layer, on the values that the quantized input stands for.
    """
    import tf_keras as keras

    from pipeline.keras.conversion.conversion import Conversion

    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(0, 2, (64, *SHAPE)).astype(np.float32)
    inputs = keras.Input(SHAPE, name="x")
    model = keras.Model(inputs, function(inputs))
    file = Conversion(INT8, model, SHAPE).content(x)
    read = tflite.read(file)
    port, step = read.inputs[0], read.outputs[0].scale
    exact = np.asarray(model(dequantize(quantize(x, port.scale, port.zero_point, "int8"), port.scale, port.zero_point)))
    found = {"ops": read.ops_count(), "integer_only": read.integer_only}
    for name, run in {"litert": litert.run, "tflm": tflm.run}.items():
        error = run(file, x) - exact
        decibel = sqnr_db(float(np.sum(exact**2)), float(np.sum(error**2)))
        found[name] = {"sqnr_db": decibel, "steps": float(np.abs(error).max() / step)}
    return found


def main() -> None:
    measure(table)


def table(found: dict[str, dict[str, Any]]) -> None:
    """Print the figures."""
    print("| function | ops | SQNR | largest error on LiteRT | on TFLM |\n|---|---|---|---|---|")
    for name, row in found.items():
        ops = ", ".join(sorted(row["ops"]))
        lite, micro = row["litert"], row["tflm"]
        print(f"| {name} | {ops} | {lite['sqnr_db']:.1f} dB | {lite['steps']:.2f} steps | {micro['steps']:.2f} steps |")


if __name__ == "__main__":
    main()
