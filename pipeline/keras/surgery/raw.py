"""Rewrite raw TensorFlow ops in a Keras model (`x + 3`, `tf.nn.relu6(x)`) as equivalent Keras layers, if there are any.

Keras stores such an op as a TFOpLambda layer with the public name of its function. tfmot does not support these layers.
"""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.keras.surgery.graph import Call
from pipeline.keras.surgery.rsqrt import rsqrt

if TYPE_CHECKING:
    import tf_keras

    from pipeline.keras.surgery.builder import Builder

# Public names of ops whose result has its own range in an int8 file (RANGED), or the input's range (PASSING).
RANGED = {
    "math.ceil", "math.cos", "math.floor", "math.log", "math.log1p", "math.log_sigmoid", "math.negative", "math.pow",
    "math.round", "math.sign", "math.sin", "math.softplus", "math.sqrt", "math.square", "nn.elu", "nn.gelu",
    "nn.selu", "nn.softsign", "keras.activations.gelu", "keras.activations.elu",
    "math.reduce_mean", "math.exp", "math.abs", "math.squared_difference", "linalg.matmul",
    "nn.leaky_relu", "__operators__.add", "math.add", "math.subtract", "math.multiply", "math.divide",
    "image.resize",
}  # fmt: skip
PASSING = {
    "__operators__.getitem", "strided_slice", "reshape", "transpose", "expand_dims", "squeeze", "split", "tile",
    "identity", "concat", "nn.max_pool2d", "nn.avg_pool2d", "pad", "gather", "math.reduce_max", "stack", "unstack",
    "reverse",
}  # fmt: skip

_ACTIVATIONS = {
    "nn.relu": "relu", "nn.relu6": "relu6", "nn.sigmoid": "sigmoid", "math.sigmoid": "sigmoid", "nn.tanh": "tanh",
    "math.tanh": "tanh", "nn.silu": "swish", "nn.swish": "swish", "nn.gelu": "gelu", "nn.elu": "elu", "nn.selu": "selu",
    "nn.softsign": "softsign", "nn.softplus": "softplus", "math.softplus": "softplus", "math.exp": "exponential",
    **{f"keras.activations.{name}": name for name in (
        "relu", "hard_sigmoid", "sigmoid", "swish", "tanh", "gelu", "softmax", "elu", "selu", "softplus", "softsign",
        "mish", "exponential",
    )},
}  # fmt: skip
_SUMS = ("__operators__.add", "math.add", "add")
_DIFFERENCES = ("math.subtract", "subtract", "__operators__.sub")
_PRODUCTS = ("math.multiply", "multiply", "__operators__.mul")
_QUOTIENTS = ("math.truediv", "math.divide", "truediv", "divide")


def layers(build: "Builder", call: Call) -> Any:
    """The result of equivalent Keras layers, or of the same op if there are none."""
    found = _found(build, call, symbol(call.layer))
    return build.copy(call) if found is None else found


def symbol(layer: "tf_keras.layers.Layer") -> str:
    """The public name of a raw op's function; "" for an ordinary layer."""
    return str(getattr(layer, "symbol", None) or "")


def _found(build: "Builder", call: Call, name: str) -> Any | None:
    if name in _ACTIVATIONS and _as_by_default(call):
        return _activation(build, call, _ACTIVATIONS[name])
    for symbols, make in _ARITHMETIC.items():
        if name in symbols:
            first, second, *_ = _arguments(call).values()
            return make(build, call, first, second)
    return _OTHERS[name](build, call, _arguments(call)) if name in _OTHERS else None


def _arguments(call: Call) -> dict[str, Any]:
    """Parameter of the function -> its argument, including defaults."""
    bound = inspect.signature(call.layer.function).bind(*call.args, **call.kwargs)
    bound.apply_defaults()
    return dict(bound.arguments)


def _as_by_default(call: Call) -> bool:
    """Whether all arguments except the first have the function's default values."""
    (_, *rest), parameters = _arguments(call).items(), inspect.signature(call.layer.function).parameters
    return all(key == "name" or value == parameters[key].default for key, value in rest)


def _activation(build: "Builder", call: Call, name: str) -> Any:
    from tf_keras import layers

    x = next(iter(_arguments(call).values()))
    if name == "hard_sigmoid":
        return build.hard_sigmoid(call, x)
    if name == "relu6":
        return build.relu6(call, x)
    return build.put(call, lambda own: layers.Activation(name, name=own), x)


def _add(build: "Builder", call: Call, a: Any, b: Any) -> Any | None:
    from tf_keras import layers

    if _tensors(a, b):
        return _merge(build, call, layers.Add, a, b)
    x, constant = (a, _constant(b)) if _tensors(a) else (b, _constant(a))
    return None if constant is None else build.shifted(call, x, constant)


def _subtract(build: "Builder", call: Call, a: Any, b: Any) -> Any | None:
    from tf_keras import layers

    if _tensors(a, b):
        return _merge(build, call, layers.Subtract, a, b)
    if _tensors(a):
        constant = _constant(b)
        return None if constant is None else build.shifted(call, a, (-np.asarray(constant)).tolist())
    constant = _constant(a)
    return None if constant is None else build.shifted(call, build.scaled(call, b, -1.0, "_negated"), constant)


def _multiply(build: "Builder", call: Call, a: Any, b: Any) -> Any | None:
    from tf_keras import layers

    if _tensors(a, b):
        return _merge(build, call, layers.Multiply, a, b)
    x, constant = (a, _constant(b)) if _tensors(a) else (b, _constant(a))
    return None if constant is None else build.scaled(call, x, constant)


def _divide(build: "Builder", call: Call, a: Any, b: Any) -> Any | None:
    constant = None if _tensors(b) else _constant(b)
    if constant is None or not np.all(constant):
        return None
    return build.scaled(call, a, (1 / np.asarray(constant)).tolist())


def _maximum(build: "Builder", call: Call, a: Any, b: Any) -> Any | None:
    from tf_keras import layers

    if _tensors(a, b):
        return _merge(build, call, layers.Maximum, a, b)
    x, constant = (a, b) if _tensors(a) else (b, a)
    return build.put(call, lambda name: layers.ReLU(name=name), x) if _constant(constant) == 0 else None


def _minimum(build: "Builder", call: Call, a: Any, b: Any) -> Any | None:
    from tf_keras import layers

    return _merge(build, call, layers.Minimum, a, b) if _tensors(a, b) else None


def _merge(build: "Builder", call: Call, kind: Any, a: Any, b: Any) -> Any | None:
    if a.shape.rank != b.shape.rank:  # TensorFlow broadcasts at the first axis, Keras's layers after the batch axis
        return None
    return build.put(call, lambda name: kind(name=name), [a, b])


def _concat(build: "Builder", call: Call, values: dict[str, Any]) -> Any | None:
    from tf_keras import layers

    tensors, axis = values["values"], values["axis"]
    if not isinstance(axis, int) or axis == 0 or not _tensors(*tensors) or len(tensors) < 2:
        return None
    return build.put(call, lambda name: layers.Concatenate(axis, name=name), list(tensors))


def _reshape(build: "Builder", call: Call, values: dict[str, Any]) -> Any | None:
    from tf_keras import layers

    shape = values["shape"]
    if not isinstance(shape, (list, tuple)) or not all(isinstance(size, int) for size in shape) or shape[0] != -1:
        return None
    return build.put(call, lambda name: layers.Reshape(shape[1:], name=name), values["tensor"])


def _reduce_mean(build: "Builder", call: Call, values: dict[str, Any]) -> Any | None:
    """The mean over all positions of an image or a sequence, as global average pooling."""
    from tf_keras import layers

    x, axis = values["input_tensor"], values["axis"]
    given = axis if isinstance(axis, (list, tuple)) else [] if axis is None else [axis]
    axes = sorted(each % x.shape.rank for each in given)
    kinds = {(4, (1, 2)): layers.GlobalAveragePooling2D, (3, (1,)): layers.GlobalAveragePooling1D}
    kind = kinds.get((x.shape.rank, tuple(axes)))
    keep = bool(values["keepdims"])
    return None if kind is None else build.put(call, lambda name: kind(keepdims=keep, name=name), x)


def _clip(build: "Builder", call: Call, values: dict[str, Any]) -> Any | None:
    if (_constant(values["clip_value_min"]), _constant(values["clip_value_max"])) != (0, 6):
        return None
    return build.relu6(call, values["t"])


def _identity(build: "Builder", call: Call, values: dict[str, Any]) -> Any:
    from tf_keras import layers

    return build.put(call, lambda name: layers.Activation("linear", name=name), values["input"])


def _rsqrt(build: "Builder", call: Call, values: dict[str, Any]) -> Any:
    return build.put(call, lambda name: rsqrt()(name=name), values["x"])


def _tensors(*values: Any) -> bool:
    import tensorflow as tf

    return all(tf.is_tensor(value) and value.dtype.is_floating for value in values)


def _constant(value: Any) -> Any | None:
    """The value as a float, or as a list with a float per channel; None for anything else."""
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError, NotImplementedError):
        return None
    if array.size == 1:
        return float(array.reshape(()))
    return array.reshape(-1).tolist() if array.size == array.shape[-1] else None


_ARITHMETIC: dict[tuple[str, ...], Callable[..., Any]] = {
    _SUMS: _add,
    _DIFFERENCES: _subtract,
    _PRODUCTS: _multiply,
    _QUOTIENTS: _divide,
    ("math.maximum", "maximum"): _maximum,
    ("math.minimum", "minimum"): _minimum,
}
_OTHERS: dict[str, Callable[..., Any]] = {
    "concat": _concat,
    "reshape": _reshape,
    "math.reduce_mean": _reduce_mean,
    "reduce_mean": _reduce_mean,
    "clip_by_value": _clip,
    "identity": _identity,
    "math.rsqrt": _rsqrt,
}
