"""The plain script that `overhead` compares with: configs/digits.yaml by hand, in one process.

Usage: plain.py OUT_DIR. It makes the same calls of Keras, tfmot and the converter on the same data, without a store,
checkpoints, isolation, determinism or checks.
"""

import os
import sys
from pathlib import Path

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras as keras
from tf_keras import layers

from pipeline.data.sources.digits import Digits

OUT = Path(sys.argv[1])
DATA = Digits()
EDGE = 1  # pixels of the random shift


def arrays(name):
    split = DATA.split(name)
    return split.batch(np.arange(len(split)))


def shifted(x, y):
    padded = tf.pad(x, [[0, 0], [EDGE, EDGE], [EDGE, EDGE], [0, 0]], "SYMMETRIC")
    return tf.map_fn(lambda image: tf.image.random_crop(image, [8, 8, 1]), padded), y


def batches(augment):
    train = tf.data.Dataset.from_tensor_slices(arrays("train")).shuffle(2000).batch(32)
    return (train.map(shifted) if augment else train).prefetch(2)


def network():
    x = inputs = layers.Input((8, 8, 1))
    for i, filters in enumerate((16, 32, 64)):
        x = layers.MaxPooling2D(2)(x) if i else x
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    return keras.Model(inputs, layers.Softmax()(layers.Dense(10)(layers.Flatten()(x))))


def fit(model, rate, epochs, augment=True, callbacks=()):
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", ["accuracy"])
    model.fit(
        batches(augment), validation_data=arrays("validation"), epochs=epochs, verbose=0, callbacks=list(callbacks)
    )


def convert(model, name, quantize, calibrate):
    function = tf.function(lambda image: model(image)).get_concrete_function(tf.TensorSpec([1, 8, 8, 1]))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
    if quantize:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    if calibrate:
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = lambda: ([image[None]] for image in arrays("calibration")[0])
    (OUT / f"{name}.tflite").write_bytes(converter.convert())


def skip_small(layer):
    prunable = isinstance(layer, layers.Conv2D) and layer.count_params() >= 500
    schedule = tfmot.sparsity.keras.PolynomialDecay(0.0, 0.6, 0, 203, 3, 2)
    return tfmot.sparsity.keras.prune_low_magnitude(layer, pruning_schedule=schedule) if prunable else layer


OUT.mkdir(parents=True, exist_ok=True)
model = network()
fit(model, keras.optimizers.schedules.CosineDecay(0.002, 20 * 34), 20)
convert(model, "float", quantize=False, calibrate=False)
convert(model, "ptq", quantize=True, calibrate=True)
pruned = keras.models.clone_model(model, clone_function=skip_small)
fit(pruned, 0.001, 8, callbacks=[tfmot.sparsity.keras.UpdatePruningStep()])
pruned = tfmot.sparsity.keras.strip_pruning(pruned)
annotated = tfmot.quantization.keras.quantize_annotate_model(pruned)
scheme = tfmot.experimental.combine.Default8BitPrunePreserveQuantizeScheme()
aware = tfmot.quantization.keras.quantize_apply(annotated, scheme)
fit(aware, 0.0005, 4, augment=False)
convert(aware, "small", quantize=True, calibrate=False)
