"""Rewrite a network whose input is whole numbers, so that they reach a file as they are.

Keras declares an input as float32 unless told otherwise, and casts in front of each Embedding. The converter would
round such an input to 8 bits, and with it the ids. It also has no integer kernels for what an Embedding with
`mask_zero` and the encodings of categories compute. Tables have them: looking up a row of 8-bit numbers is one GATHER.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.keras.surgery import raw
from pipeline.keras.surgery.builder import op
from pipeline.keras.surgery.graph import Call, Rebuild

if TYPE_CHECKING:
    import tf_keras


class Ids(Rebuild):
    """The network with an int32 input for ids, and with tables in place of encodings and masks; outputs are equal.

    A mask that other layers than GlobalAveragePooling1D use, such as an LSTM, stays as it is.
    """

    dtype = "int32"

    def __init__(self, explicit: bool = True) -> None:
        """explicit: whether tables replace masks."""
        super().__init__()
        self._explicit = explicit
        self._masks: dict[int, tuple[Any, Any]] = {}  # id of a mask -> it, kept alive, and its table (n, T, 1)
        self._unknown = False  # whether a mask is of no Embedding alone, as those of merged layers

    def model(self, old: "tf_keras.Model") -> "tf_keras.Model":
        if self._explicit and _uses_masks(old):
            return Ids(explicit=False).model(old)
        made = super().model(old)
        if self._unknown:
            return Ids(explicit=False).model(old)
        return _Unmasked().model(made) if self._masks else made

    def visit(self, call: Call) -> Any:
        kind, symbol = type(call.layer).__name__, raw.symbol(call.layer)
        if kind == "Embedding" and call.layer.mask_zero and self._explicit:
            return self._masking(call)
        if kind == "GlobalAveragePooling1D" and self._mask(call.x) is not None:
            return self._mean(call)
        if kind == "CategoryEncoding" and call.layer.output_mode in ("one_hot", "multi_hot"):
            return self._encoded(call)
        if symbol == "one_hot":
            return self._one_hot(call)
        if symbol == "cast" and call.x.dtype.is_integer:
            return call.x
        y = self.copy(call)
        self._pass_on(call, y)
        return y

    def _pass_on(self, call: Call, y: Any) -> None:
        """Note the mask of a result, which is that of the input unless the layer computes one of its own."""
        mask = getattr(y, "_keras_mask", None)
        if self._explicit and mask is not None and id(mask) not in self._masks:
            kept = self._mask(call.x) if getattr(call.layer.compute_mask, "_is_default", False) else None
            self._unknown |= kept is None
            self._masks[id(mask)] = (mask, kept)

    def _table(self, call: Call, x: Any, rows: "np.ndarray[Any, Any]", suffix: str = "") -> Any:
        """The rows (ids, values) that the ids x name, from a table that is not trained."""
        from tf_keras import layers

        def make(name: str) -> "tf_keras.layers.Layer":
            return layers.Embedding(*rows.shape, name=name, trainable=False)

        return self.put(call, make, x, suffix=suffix, weights=[rows])

    def _masking(self, call: Call) -> Any:
        y = self.copy(call)
        counted = np.ones((call.layer.input_dim, 1), np.float32)
        counted[0] = 0  # the id that `mask_zero` leaves out
        mask = y._keras_mask
        self._masks[id(mask)] = (mask, self._table(call, call.x, counted, "_mask"))
        return y

    def _mask(self, x: Any) -> Any:
        return self._masks.get(id(getattr(x, "_keras_mask", None)), (None, None))[1]

    def _mean(self, call: Call) -> Any:
        """The mean over the steps that are not masked: that of x times mask, divided by that of the mask."""
        import tensorflow as tf
        from tf_keras import layers

        kept, keep = self._mask(call.x), bool(call.layer.keepdims)
        x = self.put(call, lambda name: layers.Multiply(name=name), [call.x, kept], suffix="_kept")
        total, share = (
            self.put(call, lambda name: layers.GlobalAveragePooling1D(keepdims=keep, name=name), each, suffix=suffix)
            for each, suffix in ((x, "_sum"), (kept, "_share"))
        )
        return self.put(call, lambda name: op(tf.math.divide)(name=name), total, share)

    def _encoded(self, call: Call) -> Any:
        from tf_keras import layers

        rows = np.eye(call.layer.num_tokens, dtype=np.float32)
        if call.layer.output_mode == "multi_hot":
            found = self._table(call, call.x, rows, "_table")  # (n, T, ids)
            return self.put(call, lambda name: layers.GlobalMaxPooling1D(name=name), found)
        if call.x.shape[-1] != 1:
            return self._table(call, call.x, rows)
        found = self._table(call, call.x, rows, "_table")  # (n, ..., 1, ids)
        shape = (*call.x.shape[1:-1], len(rows))
        return self.put(call, lambda name: layers.Reshape(shape, name=name), found)

    def _one_hot(self, call: Call) -> Any:
        given = dict(zip(("indices", "depth", "on_value", "off_value", "axis"), call.args, strict=False)) | call.kwargs
        plain = given.get("on_value") in (None, 1) and given.get("off_value") in (None, 0) and not given.get("dtype")
        if not plain or given.get("axis") not in (None, -1) or not isinstance(given["depth"], int):
            return self.copy(call)
        return self._table(call, given["indices"], np.eye(given["depth"], dtype=np.float32))


class Quantities(Rebuild):
    """The network with a float32 input, for quantities that it declares as integers, such as the bytes of a picture."""

    dtype = "float32"


class _Unmasked(Rebuild):
    """The network without Keras's masks, which it computes again wherever a network is loaded."""

    def visit(self, call: Call) -> Any:
        if not getattr(call.layer, "mask_zero", False):
            return self.copy(call)
        config = call.layer.get_config() | {"mask_zero": False}
        make = type(call.layer).from_config
        return self.put(call, lambda name: make(config | {"name": name}), call.x, weights=call.layer.get_weights())


def _uses_masks(model: "tf_keras.Model") -> bool:
    """Whether a layer or the loss uses a mask, other than global average pooling."""
    import tf_keras

    passive = (tf_keras.Model, tf_keras.layers.GlobalAveragePooling1D)
    layers = (layer for layer in model._flatten_layers() if not isinstance(layer, passive))
    users = any("mask" in layer._call_spec.arg_names for layer in layers)
    return users or any(getattr(tensor, "_keras_mask", None) is not None for tensor in model.outputs)
