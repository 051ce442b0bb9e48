"""Tiny .tflite files of every kind, straight from the converter."""

from pathlib import Path
from typing import Any

import numpy as np

SHAPE = (16, 16, 3)
NAMES = (
    "float32", "float16", "dynamic", "int8", "uint8_io", "float_io", "int16x8", "elu", "multi", "multi_float", "lstm",
    "products", "loop", "any_batch", "batch_4",
)  # fmt: skip


def build(send: Any, folder: Path) -> None:
    """Make ``NAME.tflite`` in the folder for each of NAMES."""
    import tensorflow as tf
    import tf_keras as keras

    tf.keras.utils.set_random_seed(1)
    layers, rng = keras.layers, np.random.default_rng(3)
    keep: Any = None  # what holds the variables of the function that is converted

    def save(name: str, content: bytes) -> None:
        (folder / f"{name}.tflite").write_bytes(content)

    def trace(call: Any, **shapes: Any) -> Any:
        specs = {key: tf.TensorSpec(shape, tf.float32) for key, shape in shapes.items()}
        return tf.function(call).get_concrete_function(**specs), shapes

    def convert(traced: Any, io: Any = None, ops: Any = None, **options: Any) -> bytes:
        function, shapes = traced
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function], keep)
        for key, value in options.items():
            setattr(converter, key, value)
        if io:
            samples = [{k: rng.random(s, dtype=np.float32) for k, s in shapes.items()} for _ in range(8)]
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: iter(samples)
            converter.target_spec.supported_ops = [ops or tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = io
        return bytes(converter.convert())

    image = layers.Input(SHAPE, name="image")
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv1")(image)
    x = layers.ReLU(name="relu1")(layers.BatchNormalization(name="bn1")(x))
    x = layers.DepthwiseConv2D(3, strides=2, padding="same", activation="relu", name="dw")(x)
    x = layers.Conv2D(16, 1, activation="relu", name="pw")(x)
    x = layers.Flatten(name="flat")(layers.AveragePooling2D(2, name="pool")(x))
    cnn = keep = keras.Model(image, layers.Dense(10, activation="softmax", name="logits")(x), name="net")
    kernel, bias = cnn.get_layer("logits").get_weights()
    kernel[: len(kernel) // 2] = 0  # half of it is zero
    cnn.get_layer("logits").set_weights([kernel, bias + 0.1])  # a bias of zeros would be left out
    cnn.get_layer("pw").bias.assign(tf.fill([16], 0.1))
    cnn.get_layer("dw").bias.assign(tf.fill([8], 0.1))

    def scores(image: Any) -> Any:
        return {"scores": cnn(image, training=False)}

    one, small = trace(scores, image=[1, *SHAPE]), [tf.lite.Optimize.DEFAULT]
    save("float32", convert(one))
    half = tf.lite.TargetSpec(supported_types=[tf.float16])
    save("float16", convert(one, optimizations=small, target_spec=half))
    save("dynamic", convert(one, optimizations=small))
    save("int8", convert(one, tf.int8))
    save("uint8_io", convert(one, tf.uint8))
    save("float_io", convert(one, tf.float32))
    wide = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    save("int16x8", convert(one, tf.int16, wide))
    save("batch_4", convert(trace(scores, image=[4, *SHAPE]), tf.int8))
    save("any_batch", convert(trace(scores, image=[None, *SHAPE])))

    image = layers.Input((8, 8, 3), name="image")
    x = layers.Conv2D(4, 3, activation="elu", name="conv")(image)
    elu = keep = keras.Model(image, layers.Dense(3, name="head")(layers.GlobalAveragePooling2D(name="gap")(x)))
    save("elu", convert(trace(lambda image: elu(image), image=[1, 8, 8, 3]), tf.int8))

    zeta, alpha = layers.Input((4,), name="zeta"), layers.Input((6,), name="alpha")
    total = layers.Add(name="add")([layers.Dense(5, name="da")(zeta), layers.Dense(5, name="db")(alpha)])
    multi = keep = keras.Model([zeta, alpha], [total, layers.Dense(2, name="dc")(alpha)])

    def both(zeta: Any, alpha: Any) -> Any:
        first, second = multi([zeta, alpha])
        return {"total": first, "extra": second}

    two = trace(both, zeta=[1, 4], alpha=[1, 6])
    save("multi", convert(two, tf.int8))
    save("multi_float", convert(two))

    sequence = layers.Input((6, 3), batch_size=1, name="sequence")
    lstm = keep = keras.Model(sequence, layers.Dense(2, name="head")(layers.LSTM(4, name="lstm")(sequence)))
    save("lstm", convert(trace(lambda sequence: lstm(sequence), sequence=[1, 6, 3]), tf.int8))

    image = layers.Input((8, 8, 3), name="image")
    up = layers.Conv2DTranspose(4, 3, strides=2, padding="same", name="up")(image)
    rows = layers.Reshape((16, 64), name="rows")(up)
    products = keep = keras.Model(image, layers.Dot(axes=2, name="dot")([rows, rows]))
    save("products", convert(trace(lambda image: products(image), image=[1, 8, 8, 3])))

    keep = tf.Module()

    def loop(x: Any) -> Any:
        matrix = tf.constant(np.eye(4, dtype=np.float32) * 0.5)
        return tf.while_loop(lambda i, _: i < 3, lambda i, x: (i + 1, tf.matmul(x, matrix)), (tf.constant(0), x))[1]

    save("loop", convert(trace(loop, x=[1, 4])))
