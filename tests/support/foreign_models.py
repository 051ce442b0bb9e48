"""Tiny .tflite files as other tools make them: with state, open shapes, several signatures, complex numbers."""

from pathlib import Path
from typing import Any

import numpy as np

NAMES = ("stream", "stream_int8", "signatures", "open", "open_reshaped", "rfft", "draws", "dice")


def build(send: Any, folder: Path) -> None:
    """Make ``NAME.tflite`` in the folder for each of NAMES.

    stream             y = [state, x] W, where state, 1 at first, becomes state / 2 + x: a resource variable
    stream_int8        the same in int8
    signatures         the same with a second signature, and `tell` as its first
    open               y = the mean of each of 4 maps of images (any, any, 1), at least 3x3, its placeholder 1x1
    open_reshaped      y = x reshaped to (8, 4): its open size must be 8
    rfft               y = |RFFT2D(x)|
    draws, dice        y = x + random numbers, with a seed and without
    """
    import tensorflow as tf
    import tf_keras as keras

    tf.keras.utils.set_random_seed(1)
    rng = np.random.default_rng(3)
    weights = rng.normal(size=(8, 3)).astype(np.float32)

    class Stream(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.state = tf.Variable(tf.ones((1, 4)))

        @tf.function(input_signature=[tf.TensorSpec((1, 4), name="x")])
        def step(self, x: Any) -> Any:
            joined = tf.concat([self.state, x], axis=1)
            self.state.assign(0.5 * self.state + x)
            return {"y": tf.matmul(joined, weights)}

        @tf.function(input_signature=[tf.TensorSpec((1, 4), name="x")])
        def tell(self, x: Any) -> Any:
            return {"state": self.state + x}

    def save(name: str, function: Any, module: Any = None, **options: Any) -> None:
        traced = function.get_concrete_function()
        converter = tf.lite.TFLiteConverter.from_concrete_functions([traced], module or tf.Module())
        for key, value in options.items():
            setattr(converter, key, value)
        (folder / f"{name}.tflite").write_bytes(converter.convert())

    stream = Stream()
    save("stream", stream.step, stream)
    save(
        "stream_int8", stream.step, stream,
        optimizations=[tf.lite.Optimize.DEFAULT],
        representative_dataset=lambda: ([rng.normal(size=(1, 4)).astype(np.float32)] for _ in range(20)),
        target_spec=tf.lite.TargetSpec(supported_ops=[tf.lite.OpsSet.TFLITE_BUILTINS_INT8]),
        inference_input_type=tf.int8, inference_output_type=tf.int8,
    )  # fmt: skip
    tf.saved_model.save(stream, str(folder / "saved"), signatures={"step": stream.step, "tell": stream.tell})
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved"), signature_keys=["tell", "step"])
    (folder / "signatures.tflite").write_bytes(converter.convert())

    image = keras.Input((None, None, 1), name="image")
    x = keras.layers.Conv2D(4, 3, activation="relu", name="conv")(image)
    network = keras.Model(image, keras.layers.GlobalAveragePooling2D(name="mean")(x))
    save("open", _function(tf, lambda x: network(x), (None, None, None, 1)), network)
    save("open_reshaped", _function(tf, lambda x: tf.reshape(x, (tf.shape(x)[0], 8, 4)), (None, None, 4)))
    save("rfft", _function(tf, lambda x: tf.abs(tf.signal.rfft2d(x)), (1, 8, 8)))
    save("draws", _function(tf, lambda x: x + tf.random.uniform((1, 4), seed=5), (1, 4)))
    tf.random.set_seed(None)
    save("dice", _function(tf, lambda x: x + tf.raw_ops.RandomUniform(shape=(1, 4), dtype=tf.float32), (1, 4)))


def _function(tf: Any, call: Any, shape: tuple[int | None, ...]) -> Any:
    return tf.function(lambda x: {"y": call(x)}, input_signature=[tf.TensorSpec(shape, name="x")])
