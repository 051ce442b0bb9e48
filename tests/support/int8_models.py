"""Quantized .tflite files for the int8 rules: sound ones, and some that the converter gets wrong."""

from pathlib import Path
from typing import Any

import numpy as np

NAMES = ("parts", "answers", "lstm_faulty", "inception", "inception_faulty")


def build(send: Any, folder: Path) -> None:
    """Make ``NAME.tflite`` in the folder for each of NAMES."""
    import tensorflow as tf
    import tensorflow_model_optimization as tfmot
    import tf_keras as keras

    tf.keras.utils.set_random_seed(1)
    layers, rng, quantize = keras.layers, np.random.default_rng(3), tfmot.quantization.keras

    def save(name: str, model: Any) -> None:
        shape = (1, *model.input_shape[1:])
        spec = tf.TensorSpec(shape, tf.float32, name="image")
        function = tf.function(lambda image: model(image, training=False)).get_concrete_function(spec)
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([rng.random(shape, dtype=np.float32)] for _ in range(8))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
        (folder / f"{name}.tflite").write_bytes(converter.convert())

    def conv(name: str, size: int = 3) -> Any:
        return layers.Conv2D(4, size, padding="same", bias_initializer="normal", name=name)

    image = layers.Input((8, 8, 4), name="image")
    up = layers.Conv2DTranspose(4, 2, strides=2, bias_initializer="normal", name="up")(conv("square")(image))
    padded = layers.ZeroPadding2D(4, name="pad")(conv("side")(image))
    x = layers.MaxPooling2D(4, name="max")(layers.Concatenate(name="cat")([up, padded]))
    gate = layers.Activation("sigmoid", name="gate")(conv("gated", 1)(x))
    x = layers.Multiply(name="mul")([layers.Activation("tanh", name="tanh")(conv("left", 1)(x)), gate])
    x = layers.Maximum(name="most")([x, layers.ReLU(name="relu")(conv("right", 1)(x))])
    x = layers.Reshape((16, 4), name="rows")(layers.Permute((2, 1, 3), name="turn")(x))
    save("parts", keras.Model(image, layers.Softmax(name="scores")(x)))

    image = layers.Input((4, 4, 3), name="image")
    x, y = conv("a")(image), conv("b")(image)
    save("answers", keras.Model(image, [tf.argmax(x, -1), tf.greater(x, y), tf.where(tf.greater(x, y), x, y)]))

    sequence = layers.Input((6, 3), batch_size=1, name="sequence")
    x = layers.LSTM(4, name="lstm")(sequence)
    y = layers.Dense(4, name="dense")(layers.Flatten(name="flat")(sequence))
    save("lstm_faulty", keras.Model(sequence, layers.Concatenate(name="cat")([x, y])))

    class Unquantized(quantize.QuantizeConfig):  # type: ignore[misc]
        """Leaves a layer as it is."""

        def get_weights_and_quantizers(self, layer: Any) -> list[Any]:
            return []

        def get_activations_and_quantizers(self, layer: Any) -> list[Any]:
            return []

        def set_quantize_weights(self, layer: Any, quantize_weights: Any) -> None: ...

        def set_quantize_activations(self, layer: Any, quantize_activations: Any) -> None: ...

        def get_output_quantizers(self, layer: Any) -> list[Any]:
            return []

        def get_config(self) -> dict[str, Any]:
            return {}

    def inception(average: Any) -> Any:
        """An Inception block after a step of quantization-aware training; `average` is the pooling's config."""
        image = layers.Input((12, 12, 3), name="image")
        x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="stem")(image)
        x = layers.ReLU(name="relu")(layers.BatchNormalization(name="bn")(x))
        x = layers.MaxPooling2D(2, name="max")(x)
        y = layers.AveragePooling2D(3, strides=1, padding="same", name="average")(x)
        x = layers.Concatenate(name="cat")([conv("left", 1)(x), conv("right", 1)(y)])
        model = keras.Model(image, layers.Dense(3, name="head")(layers.GlobalAveragePooling2D(name="gap")(x)))

        def annotate(layer: Any) -> Any:
            if isinstance(layer, layers.InputLayer):
                return layer
            return quantize.quantize_annotate_layer(layer, average if layer.name == "average" else None)

        with quantize.quantize_scope({"Unquantized": Unquantized}):
            aware = quantize.quantize_apply(keras.models.clone_model(model, clone_function=annotate))
        aware.compile("sgd", "mse")
        aware.train_on_batch(rng.random((32, 12, 12, 3), dtype=np.float32), rng.random((32, 3), dtype=np.float32))
        return aware

    save("inception_faulty", inception(None))
    save("inception", inception(Unquantized()))
