"""The network behind quantization-aware training without what rounds in it: its trained weights in plain layers."""

from typing import TYPE_CHECKING, Any

from pipeline.keras.surgery.graph import Call, Rebuild

if TYPE_CHECKING:
    import tf_keras


class Plain(Rebuild):
    """The network without tfmot's wrappers and layers that round.

    The converter makes no integer op of an LSTM whose weights or inputs pass through these, so that such a network is
    calibrated as a whole.
    """

    def visit(self, call: Call) -> Any:
        kind = type(call.layer).__name__
        if kind == "QuantizeLayer":
            return call.x
        if not kind.startswith("QuantizeWrapper"):
            return self.copy(call)
        wrapper: Any = call.layer
        inner = wrapper.layer
        y = self.put(call, lambda name: _like(inner), *call.args, **call.kwargs)
        new = y._keras_history.layer
        values = {_last(weight): weight.numpy() for weight in wrapper.weights}
        new.set_weights([values[_last(weight)] for weight in new.weights])
        return y


def _like(inner: "tf_keras.layers.Layer") -> "tf_keras.layers.Layer":
    return type(inner).from_config(inner.get_config())


def _last(weight: Any) -> str:
    """The name of a weight within its layer: `kernel` of `quant_lstm/lstm_cell/kernel:0`."""
    return str(weight.name.partition(":")[0].rpartition("/")[2])
