"""Small networks for the surgery, and figures of what it makes of them."""

from typing import Any

from pipeline.keras.conversion.request import Request

IMAGE, SEQUENCE, VECTOR = (8, 8, 4), (16, 4), (9,)
INT8 = Request("int8", "int8", per_channel=True, per_channel_dense=True, estimator="minmax", percentile=1)


def _nest(layers: Any, keras: Any) -> Any:
    inside = keras.Sequential([layers.Dense(3, activation="swish", name="twice")], name="inside")
    return keras.Sequential([layers.Conv2D(4, 1, name="twice"), layers.BatchNormalization(), inside], name="nest")


def constructs() -> dict[str, tuple[tuple[int, ...], Any]]:
    """Networks as (shape of an example, function from the input to the outputs), one construct each."""
    import tensorflow as tf
    import tf_keras as keras
    from tf_keras import layers as l

    def shared(x: Any) -> Any:
        nest = _nest(l, keras)
        return l.Add()([nest(x), nest(x * 2.0)])

    def excited(x: Any) -> Any:
        y = l.Conv2D(2, 1, activation="swish")(l.Reshape((1, 1, 4))(l.GlobalAveragePooling2D()(x)))
        return l.Multiply()([x, l.Conv2D(4, 1, activation="hard_sigmoid")(y)])

    def raw(x: Any) -> Any:
        parts = [tf.nn.relu(x) / 2.0, 1.0 - x, x - [1.0, 2.0, 3.0, 4.0], tf.reshape(tf.maximum(x, 0.0), [-1, 8, 8, 4])]
        return tf.concat([*parts, tf.maximum(x, x * 0.3), tf.nn.silu(x), tf.clip_by_value(x, 0.0, 6.0)], -1)

    def two_readers(x: Any) -> Any:
        y = l.Conv2D(4, 1)(x)
        return l.Add()([l.BatchNormalization()(y), y])

    def sequence(x: Any) -> Any:
        x = l.ReLU()(l.BatchNormalization()(l.Conv1D(5, 3, padding="causal", dilation_rate=2)(x)))
        x = l.DepthwiseConv1D(3, depth_multiplier=2, strides=2)(l.Cropping1D(1)(l.MaxPooling1D(2, 1)(x)))
        x = l.UpSampling1D(2)(l.SeparableConv1D(6, 3, strides=2, activation="tanh")(l.ZeroPadding1D(2)(x)))
        return l.GlobalAveragePooling1D()(l.LayerNormalization()(l.AveragePooling1D(2)(x)))

    def frozen(x: Any) -> Any:
        return l.Dense(2)(l.Flatten()(_nest(l, keras)(x, training=False)))

    def inception(x: Any) -> Any:
        x = l.MaxPooling2D(2)(l.ReLU()(l.BatchNormalization()(l.Conv2D(6, 3, padding="same")(x))))
        pooled = l.Conv2D(4, 1, use_bias=False)(l.AveragePooling2D(3, 1, padding="same")(x))
        return l.Concatenate()([l.Conv2D(4, 1, activation="relu")(x), l.ReLU()(l.BatchNormalization()(pooled)), x])

    def joined(x: Any) -> Any:
        a, b = l.Conv2D(4, 1)(x), l.Rescaling(6.0)(l.Conv2D(4, 1)(x))
        y = l.Concatenate()([l.Minimum()([a, b]), a, b])
        return l.Concatenate()([l.UpSampling2D(interpolation="bilinear")(y), l.Conv2DTranspose(2, 2, 2)(x)])

    def einsum(x: Any) -> Any:
        split = l.EinsumDense("abc,cde->abde", (None, 2, 3), bias_axes="e", activation="relu")(x)
        return l.EinsumDense("...a,ab->...b", 4)(l.Reshape((-1, 6))(split))

    def attention(x: Any) -> Any:
        x = l.LayerNormalization()(x + l.MultiHeadAttention(2, 3, dropout=0.1)(x, x, use_causal_mask=True))
        return l.LayerNormalization()(l.Add()([x, l.Dense(4)(l.Dense(8, activation="gelu")(x))]))

    def frames(x: Any) -> Any:
        x = l.Reshape((8, 4, 4, 2))(x)
        x = l.Conv3D(3, 3, strides=(2, 1, 1), padding="same", use_bias=False)(x)
        x = l.MaxPooling3D(2)(l.ReLU()(l.BatchNormalization()(x)))
        return l.GlobalAveragePooling3D()(l.Conv3D(3, (1, 2, 1), activation="elu")(x))

    def functions(x: Any) -> Any:
        names = ("elu", "selu", "softplus", "softsign")
        parts = [l.Conv1D(3, 3, activation=name)(x) for name in names]
        thresholded = l.ThresholdedReLU(0.5)(l.Conv1D(3, 3)(x))
        return l.Add()([*parts, tf.square(l.Conv1D(3, 3)(x)), l.Activation("elu")(thresholded)])

    def functions_joined(x: Any) -> Any:
        y = l.Conv1D(5, 3)(x)
        return l.Dense(2)(l.Flatten()(l.Concatenate()([l.Activation("softplus")(y), y])))

    return {
        "nested, twice": (IMAGE, shared),
        "nested, at the end": (IMAGE, lambda x: _nest(l, keras)(x)),
        "nested, frozen": (IMAGE, frozen),
        "squeeze and excite": (IMAGE, excited),
        "hard swish": (IMAGE, lambda x: x * l.ReLU(6.0)(x + 3.0) * (1 / 6.0)),
        "raw ops": (IMAGE, raw),
        "mean and slice": (IMAGE, lambda x: tf.reduce_mean(x[:, 1:-1, 2:6], [1, 2], keepdims=True) * x),
        "normalisation alone": (IMAGE, lambda x: l.BatchNormalization()(l.Add()([l.BatchNormalization()(x), x]))),
        "normalisation beside": (IMAGE, two_readers),
        "normalised vectors": (
            VECTOR,
            lambda x: l.ReLU()(l.BatchNormalization()(l.Dense(8)(l.BatchNormalization()(x)))),
        ),
        "1D layers": (SEQUENCE, sequence),
        "dense on a sequence": (SEQUENCE, lambda x: l.Dense(5, activation="gelu")(einsum(l.Dense(5)(x)))),
        "separable": (IMAGE, lambda x: l.SeparableConv2D(6, 3, strides=2, activation="swish", depth_multiplier=2)(x)),
        "rescaling": (IMAGE, lambda x: l.Rescaling(1 / 128.0, -1.0)(x)),
        "normalization": (IMAGE, lambda x: l.Normalization(mean=[1.0, 2, 3, 4], variance=[1.0, 4, 0.5, 2])(x)),
        "average of three": (IMAGE, lambda x: l.Average()([x, x * 2.0, l.Minimum()([x, x * 3.0])])),
        "another ceiling": (IMAGE, lambda x: l.ReLU(4.0)(l.PReLU()(x))),
        "layer norm": (IMAGE, lambda x: l.LayerNormalization(epsilon=1e-6)(l.Conv2D(16, 3)(x))),
        "transposed": (IMAGE, lambda x: l.Conv2DTranspose(3, 2, activation="swish")(x)),
        "inception": (IMAGE, inception),
        "minimum and bilinear": (IMAGE, joined),
        "softmax": (VECTOR, lambda x: l.Dense(4, activation="softmax", name="scores")(x)),
        "functions": (SEQUENCE, functions),
        "functions joined": (SEQUENCE, functions_joined),
        "attention": (SEQUENCE, attention),
        "attention of images": (IMAGE, lambda x: l.MultiHeadAttention(2, 3, value_dim=2)(x, l.Conv2D(5, 3, 2)(x))),
        "dot-product attention": (SEQUENCE, lambda x: l.Attention()([l.Conv1D(4, 3)(x), x], use_causal_mask=True)),
        "group norm": (IMAGE, lambda x: l.ReLU()(l.GroupNormalization(3, epsilon=1e-6)(l.Conv2D(6, 3)(x)))),
        "frames": (IMAGE, frames),
        "running sum": (VECTOR, lambda x: tf.cumsum(l.Dense(4)(x), axis=1)),
    }


def _measure(shape: tuple[int, ...], function: Any) -> dict[str, Any]:
    import numpy as np
    import tf_keras as keras

    from pipeline import tflite
    from pipeline.keras.conversion.conversion import Conversion
    from pipeline.keras.surgery import quantizers, ranges, rewrite
    from pipeline.verify import int8
    from pipeline.verify.interpreters import litert

    rng = np.random.default_rng(0)
    inputs = keras.Input(shape, name="image")
    model = keras.Model(inputs, function(inputs))
    for weight in model.weights:
        spread = rng.uniform(0.5, 1.5, weight.shape) if "variance" in weight.name else rng.normal(0, 0.5, weight.shape)
        weight.assign(spread)
    x = rng.normal(size=(32, *shape)).astype(np.float32)
    before = np.asarray(model(x, training=False))
    network = rewrite.quantizable(model, [x])
    after = np.asarray(network.model(x, training=False))

    wrapped = quantizers.Quantized(preserve=False)
    quantized = wrapped.model(network.model)
    wrapped.set_ranges(ranges.measure(network.model, wrapped.ranged, [x]))
    quantized.compile("sgd", "mse")
    quantized.train_on_batch(x, before)
    file = Conversion(INT8, quantized, shape).content(None)
    read, given = tflite.read(file), litert.run(file, x)
    lsb = np.abs(given - np.asarray(quantized(x, training=False))) / (read.outputs[0].scale or 1.0)
    return {
        "error": float(np.abs(before - after).max() / max(1.0, float(np.abs(before).max()))),
        "names": [model.input_names + model.output_names, network.model.input_names + network.model.output_names],
        "origin": sorted(set(network.origin.values())),
        "layers": [type(layer).__name__ for layer in network.model.layers],
        "left": wrapped.left,
        "ops": read.ops_count(),
        "integer_only": read.integer_only,
        "breaches": [str(found) for found in int8.breaches(read) if found.severity == "fail"],
        "lsb": [float(lsb.max()), float(lsb.mean())],
    }


def _ports() -> dict[str, Any]:
    """A network of two inputs, one of them given out again through a shared layer, and two outputs."""
    import numpy as np
    import tf_keras as keras
    from tf_keras import layers as l

    from pipeline.keras.surgery import rewrite
    from pipeline.keras.surgery.flat import flat

    a, b = l.Input(IMAGE, name="a"), l.Input(IMAGE, name="b")
    shared = l.Conv2D(4, 1, activation="swish", name="shared")
    nest = _nest(l, keras)
    model = keras.Model([b, a], [l.Add(name="sum")([shared(a), shared(b)]), nest(shared(a))])
    x = [np.random.default_rng(i).normal(size=(5, *IMAGE)).astype(np.float32) for i in range(2)]
    network = rewrite.quantizable(model).model
    pairs = zip(model(x), network(x), strict=True)
    return {
        "error": max(float(np.abs(one - other).max()) for one, other in pairs),
        "names": [model.input_names + model.output_names, network.input_names + network.output_names],
        "flat": [layer.name for layer in flat(model).layers],
    }


def _subclassed() -> str:
    import tf_keras as keras

    from pipeline.core.errors import StageError
    from pipeline.keras.surgery import rewrite

    class Own(keras.Model):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x

    inputs = keras.Input(IMAGE)
    try:
        rewrite.quantizable(keras.Model(inputs, keras.layers.ReLU()(Own(name="own")(inputs))))
    except StageError as error:
        return str(error)
    return ""


def _preserved() -> dict[str, float]:
    """Zeros in each kernel of the file after training with half of each kernel's weights set to zero before."""
    import numpy as np
    import tf_keras as keras
    from tf_keras import layers as l

    from pipeline import tflite
    from pipeline.keras.conversion.conversion import Conversion
    from pipeline.keras.surgery import quantizers, ranges, rewrite
    from pipeline.stages.qat import _bake_zeros

    inputs = keras.Input(IMAGE)
    x = l.ReLU()(l.BatchNormalization()(l.Conv2D(8, 1, use_bias=False)(inputs)))
    x = l.ReLU()(l.Conv2D(8, 1, name="bare")(x))  # without normalisation: where tfmot's own scheme loses the zeros
    x = l.ReLU()(l.DepthwiseConv2D(2)(l.Conv2DTranspose(8, 2)(x)))
    x = l.SeparableConv2D(8, 3, activation="swish")(l.Conv2D(8, 3)(x))
    x = l.BatchNormalization()(l.Dense(8)(l.GlobalAveragePooling2D()(x)))
    model = keras.Model(inputs, l.Dense(6)(l.Conv1D(8, 1, activation="relu")(l.Reshape((2, 4))(x))[:, 0]))
    rng = np.random.default_rng(1)
    for weight in model.weights:
        if "kernel" in weight.name:
            half = rng.permutation(np.arange(np.prod(weight.shape)) % 2)  # not whole channels: those learn nothing
            weight.assign(weight * half.reshape(weight.shape))
    network = rewrite.quantizable(model).model
    wrapped = quantizers.Quantized(preserve=True)
    quantized = wrapped.model(network)
    data = rng.normal(size=(32, *IMAGE)).astype(np.float32)
    wrapped.set_ranges(ranges.measure(network, wrapped.ranged, [data]))
    quantized.compile(keras.optimizers.Adam(0.03), "mse")  # a step is worth several of the file's
    for _ in range(3):
        quantized.train_on_batch(data, rng.normal(size=(32, 6)).astype(np.float32))
    _bake_zeros(quantized)
    return tflite.read(Conversion(INT8, quantized, IMAGE).content(None)).sparsity()


def _per_tensor() -> dict[str, list[int]]:
    """How many scales each op's weights have, trained with one for all channels."""
    import numpy as np
    import tf_keras as keras
    from tf_keras import layers as l

    from pipeline import tflite
    from pipeline.keras.conversion.conversion import Conversion
    from pipeline.keras.surgery import quantizers, ranges, rewrite

    inputs = keras.Input(IMAGE)
    x = l.DepthwiseConv2D(3, activation="relu")(l.Conv2D(8, 3, activation="swish")(inputs))
    network = rewrite.quantizable(keras.Model(inputs, l.Dense(6)(l.Flatten()(x)))).model
    found = {}
    for preserve in (False, True):
        wrapped = quantizers.Quantized(preserve, per_channel=False)
        quantized = wrapped.model(network)
        data = np.random.default_rng(1).normal(size=(32, *IMAGE)).astype(np.float32)
        wrapped.set_ranges(ranges.measure(network, wrapped.ranged, [data]))
        file = tflite.read(Conversion(INT8, quantized, IMAGE).content(None))
        found[file.quantization + " preserved" * preserve] = [len(t.scales) for op in file.ops for t in op.weights]
    return found


def measure(send: Any) -> None:
    """Figures by the names of the networks."""
    from pipeline.keras import tf as door

    door.start(1)
    found: dict[str, Any] = {name: _measure(*each) for name, each in constructs().items()}
    found |= {"ports": _ports(), "subclassed": _subclassed(), "preserved": _preserved(), "per_tensor": _per_tensor()}
    send(found)
