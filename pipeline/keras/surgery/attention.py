"""Rules that rewrite attention as 1x1 convolutions, matrix products and a softmax, which have int8 kernels."""

import inspect
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.keras.surgery.builder import Builder, op
from pipeline.keras.surgery.graph import Call
from pipeline.keras.surgery.ranges import observe

if TYPE_CHECKING:
    import tf_keras

SCORES = "_scores"  # suffix of the layer that computes the scores of an attention layer
FLOOR = -16.0  # score of masked positions, if the scores of examples are not known

Mask = NDArray[np.bool_]  # (length of the query, length of the value): which positions are attended to


def multi_head(build: Builder, call: Call) -> Any:
    """MultiHeadAttention over sequences (n, length, channels) or images (n, height, width, channels).

    Vaswani et al., https://arxiv.org/abs/1706.03762. The factor 1 / sqrt(size of a head) is part of the query's kernel.
    """
    old, given = call.layer, _arguments(call)
    query, value = given["query"], given["value"]
    key = value if given["key"] is None else given["key"]
    if _unfit(given, query, value, key) or len(old._output_dense.kernel.shape) != 3:
        return build.copy(call)
    if tuple(old._attention_axes) != tuple(range(1, query.shape.rank - 1)):
        return build.copy(call)
    q = _heads(build, call, query, old._query_dense, "_query", old._key_dim**-0.5)
    k = _heads(build, call, key, old._key_dense, "_key")
    v = _heads(build, call, value, old._value_dense, "_value")
    y, scores = _attended(build, call, (q, k, v), _mask(given, query, value), old._dropout, "_attended")
    y = _permuted(build, call, y, "_positions")  # (n, length, heads, size of a head)
    y = _reshaped(build, call, y, "_joined", (1, -1, y.shape[2] * y.shape[3]))
    y = _dense(build, call, y, old._output_dense, "")
    y = build.narrow(call.on(query), y) if query.shape.rank == 3 else _as_image(build, call, y, query)
    return (y, scores) if given["return_attention_scores"] else y


def dot_product(build: Builder, call: Call) -> Any:
    """The layer Attention: softmax(q k^T) v, without kernels. Luong et al., https://arxiv.org/abs/1508.04025."""
    old, given = call.layer, _arguments(call)
    query, value, *rest = given["inputs"]
    key = rest[0] if rest else value
    given["use_causal_mask"] = given["use_causal_mask"] or old.causal
    if _unfit(given, query, value, key) or old.score_mode != "dot" or old.use_scale or query.shape.rank != 3:
        return build.copy(call)
    y, scores = _attended(build, call, (query, key, value), _mask(given, query, value), old.dropout, "")
    return (y, scores) if given["return_attention_scores"] else y


RULES = {"MultiHeadAttention": multi_head, "Attention": dot_product}


def poor(call: Call) -> bool:
    """Whether the converter makes a poor int8 file of it: of a mask, which it adds as -1e9, and of images."""
    given = _arguments(call)
    query = given["inputs"][0] if "inputs" in given else given["query"]
    causal = given["use_causal_mask"] or getattr(call.layer, "causal", False)
    return bool(causal) or given.get("attention_mask") is not None or query.shape.rank > 3


def _arguments(call: Call) -> dict[str, Any]:
    """Parameter of the layer's call -> its argument, including defaults."""
    bound = inspect.signature(type(call.layer).call).bind(call.layer, *call.args, **call.kwargs)
    bound.apply_defaults()
    return dict(bound.arguments)


def _unfit(given: dict[str, Any], *inputs: Any) -> bool:
    """Whether a mask depends on the data, or a size is open or of another rank than 3 and 4."""
    import tensorflow as tf

    masked = tf.is_tensor(given.get("attention_mask")) or given.get("mask") is not None
    masked = masked or any(getattr(x, "_keras_mask", None) is not None for x in inputs)
    ranks = {x.shape.rank for x in inputs}
    return masked or ranks not in ({3}, {4}) or not all(x.shape[1:].is_fully_defined() for x in inputs)


def _mask(given: dict[str, Any], query: Any, value: Any) -> Mask | None:
    """The positions that each position attends to, where that is known before any example; None for all."""
    sizes = [int(np.prod(x.shape[1:-1])) for x in (query, value)]
    mask = np.ones(sizes, bool)
    if given["use_causal_mask"]:
        mask = np.tril(mask)
    if given.get("attention_mask") is not None:
        mask = mask & np.asarray(given["attention_mask"], bool)
    return None if mask.all() else mask


def _heads(build: Builder, call: Call, x: Any, dense: Any, suffix: str, factor: float = 1.0) -> Any:
    """A projection of x, for each head: (n, heads, length, size of a head)."""
    heads, size = dense.kernel.shape[1:]
    if x.shape.rank == 4:
        x = _reshaped(build, call, x, f"{suffix}_sequence", (1, -1, x.shape[-1]))
    wide = build.wide(call.on(x))
    y = _dense(build, call, wide, dense, suffix, factor)
    y = _reshaped(build, call, y, f"{suffix}_heads", (-1, heads, size))
    return _permuted(build, call, y, f"{suffix}_by_head")


def _dense(build: Builder, call: Call, x: Any, dense: Any, suffix: str, factor: float = 1.0) -> Any:
    """A dense layer inside of the attention, times a factor, as a 1x1 convolution of x (n, 1, length, channels)."""
    from tf_keras import layers

    kernel, *bias = (factor * weight for weight in dense.get_weights())
    channels = x.shape[-1]
    settings = {
        "filters": kernel.size // channels, "use_bias": bool(bias), "trainable": call.layer.trainable,
        "kernel_regularizer": dense.kernel_regularizer, "bias_regularizer": dense.bias_regularizer,
    }  # fmt: skip
    weights = [kernel.reshape(1, 1, channels, -1), *(each.reshape(-1) for each in bias)]
    return build.put(
        call, lambda name: layers.Conv2D(kernel_size=1, name=name, **settings), x, suffix=suffix, weights=weights
    )


def _attended(
    build: Builder, call: Call, inputs: tuple[Any, Any, Any], mask: Mask | None, dropout: float, last: str
) -> tuple[Any, Any]:
    """softmax(q k^T) v, and the softmax. inputs: q, k and v (..., length, size); last: suffix of the last layer."""
    import tensorflow as tf
    from tf_keras import layers

    q, k, v = inputs
    matmul = op(tf.matmul)
    scores = build.put(call, lambda name: matmul(name=name), q, k, suffix=SCORES, transpose_b=True)
    if mask is not None:
        scores = _masked(build, call, scores, mask)
    p = build.put(call, lambda name: layers.Softmax(name=name), scores, suffix="_softmax")
    dropped = build.put(call, lambda name: layers.Dropout(dropout, name=name), p, suffix="_dropout") if dropout else p
    return build.put(call, lambda name: matmul(name=name), dropped, v, suffix=last), p


def _masked(build: Builder, call: Call, scores: Any, mask: Mask) -> Any:
    """The scores with the floor of this layer at masked positions. Keras has -1e9, which leaves others no int8 step."""
    import tensorflow as tf

    build.masked.add(call.layer.name)
    floor = build.floors.get(call.layer.name, FLOOR)
    kept, added = mask.astype(np.float32), np.where(mask, 0, floor).astype(np.float32)
    y = build.put(call, lambda name: op(tf.multiply)(name=name), scores, kept.tolist(), suffix="_kept")
    return build.put(call, lambda name: op(tf.add)(name=name), y, added.tolist(), suffix="_masked")


def floors(
    model: "tf_keras.Model", origin: Mapping[str, str], masked: Collection[str], batches: Sequence[NDArray[np.float32]]
) -> dict[str, float]:
    """The floors of layers with masks: so far below all scores that masked positions get less than an int8 softmax has.

    model, origin  the rewritten network, and which old layer each of its layers replaces
    masked         names of the old layers
    batches        examples (n, ...)

    Together they get at most 1/512 of a position's attention, half a step of the softmax's 1/256.
    """
    named = {name: old for name, old in origin.items() if old in masked and name.startswith(old + SCORES)}
    lowest = {named[name]: low for name, (low, _) in observe(model, named, batches).items()}
    sizes = {named[layer.name]: layer.output_shape[-1] for layer in model.layers if layer.name in named}
    return {old: low - float(np.log(512 * sizes[old])) for old, low in lowest.items()}


def _permuted(build: Builder, call: Call, x: Any, suffix: str) -> Any:
    """x (n, a, b, c) as (n, b, a, c)."""
    from tf_keras import layers

    return build.put(call, lambda name: layers.Permute((2, 1, 3), name=name), x, suffix=suffix)


def _reshaped(build: Builder, call: Call, x: Any, suffix: str, shape: tuple[int, ...]) -> Any:
    from tf_keras import layers

    return build.put(call, lambda name: layers.Reshape(shape, name=name), x, suffix=suffix)


def _as_image(build: Builder, call: Call, y: Any, query: Any) -> Any:
    """y (n, 1, height * width, channels) in the shape of the query."""
    return _reshaped(build, call, y, "_image", (*query.shape[1:3], y.shape[-1]))
