"""What an op adds up, computed from the mean of its input."""

import numpy as np
import pytest

from pipeline.keras.conversion.conversion import Conversion
from pipeline.keras.conversion.request import Request
from pipeline.verify.interpreters import litert

FLOAT32 = Request("float32", "float32", per_channel=True, per_channel_dense=True, estimator="minmax", percentile=1)


def sums(send):
    """For each op with weights of a float file: what it adds up for the mean input, and the mean of what it writes."""
    from pipeline.keras import tf

    tf.start(1)
    import tf_keras
    from ai_edge_litert.tools import flatbuffer_utils
    from tf_keras import layers

    from pipeline import tflite
    from pipeline.tflite.accumulator import OPS, mean_sums

    image = tf_keras.Input((9, 8, 4), name="image")
    x = layers.Conv2D(6, (3, 2), strides=(2, 1), padding="same")(image)
    x = layers.Conv2D(4, 3, dilation_rate=(1, 2), groups=2)(x)
    x = layers.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2)(x)
    model = tf_keras.Model(image, layers.Dense(5)(layers.Flatten()(layers.Conv2D(3, 1)(x))))
    random = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(random.normal(size=weight.shape))
    content = Conversion(FLOAT32, model, (9, 8, 4)).content(None)
    file, given = tflite.read(content), random.normal(size=(3, 9, 8, 4)).astype(np.float32)
    written = litert.Runner(file, kernels="builtin", keep=True).record(given)
    made = {op.outputs[0]: written[op.index] for op in file.ops} | {file.inputs[0]: given}
    options = flatbuffer_utils.convert_bytearray_to_object(content).subgraphs[0].operators
    for op in file.ops:
        if op.name in OPS:
            found = mean_sums(op, made[op.reads[0]].mean(axis=0), options[op.index].builtinOptions)
            send((op.name, found, made[op.outputs[0]].mean(axis=tuple(range(made[op.outputs[0]].ndim - 1)))))


def test_the_mean_of_what_an_op_adds_up_is_what_it_adds_up_for_the_mean(in_child):
    found = in_child(sums)
    assert sorted(name for name, _, _ in found) == ["CONV_2D"] * 3 + ["DEPTHWISE_CONV_2D", "FULLY_CONNECTED"]
    for _, computed, seen in found:
        assert computed == pytest.approx(seen, rel=1e-4, abs=1e-4)
