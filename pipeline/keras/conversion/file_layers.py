"""Write into a converted file which Keras layers each of its ops is of, from the trace that it was converted from."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import tflite
from pipeline.keras.conversion.trace import Trace
from pipeline.keras.surgery.graph import Rebuild, own_name
from pipeline.tflite import attribution, metadata
from pipeline.tflite.accumulator import constant
from pipeline.tflite.int8_spec import BORDER

if TYPE_CHECKING:
    import tf_keras

STEP = 0.51  # largest distance of a rounded weight from the float weight, in steps of its scale
FLOAT = 1e-3  # the same for float16 and float32, as a share of the largest weight

# Inputs of the fused op that hold the kernel and the recurrent kernel, gate by gate in Keras's order.
_LSTM = ((1, 2, 3, 4), (5, 6, 7, 8))


class Layers:
    """The names of the layers of a network, for each name scope of its trace.

    origin: for a rewritten network, layer -> the original layer
    """

    def __init__(self, trace: Trace, origin: Mapping[str, str]) -> None:
        self.trace, self.origin = trace, origin

    def embedded(self, content: bytes) -> bytes:
        """The bytes of a file that was converted from the trace, with the layers of its ops in its metadata."""
        lines = _File(self, tflite.read(content)).lines()
        return metadata.embedded(content, attribution.NAME, attribution.encoded(lines))

    def names(self, scope: str) -> Iterator[str]:
        """The names by which the layer of a scope is known.

        They are its path, as ``backbone/conv`` or ``bidirectional/forward_lstm``; the path of the layer of the network
        that it belongs to; that layer's name in the flat network; and the name of the layer that it was made from.
        """
        import tf_keras

        chain = self.trace.chain(scope)
        path = [own_name(layer) for layer in chain]
        depth = next((i for i, layer in enumerate(chain) if not isinstance(layer, tf_keras.Model)), len(chain) - 1)
        flat = self._flat.get(id(chain[depth]), path[depth])
        yield from (name for name in ("/".join(path), "/".join(path[: depth + 1])) if name not in self._flat.values())
        yield flat
        if flat in self.origin:
            yield self.origin[flat]

    @cached_property
    def _flat(self) -> dict[int, str]:
        """Id of a layer -> its name in the network with its nested models flattened; empty if there are none."""
        import tf_keras

        model = self.trace.model
        if not model._is_graph_network or not any(isinstance(layer, tf_keras.Model) for layer in model.layers):
            return {}
        network = Rebuild()
        network.model(model)
        return network.names

    @cached_property
    def recurrent(self) -> "dict[str, tf_keras.layers.Layer]":
        """The LSTM layers, by scope."""
        import tf_keras

        return {scope: layer for scope, layer in self.trace.scopes.items() if isinstance(layer, tf_keras.layers.LSTM)}


class _File:
    """A converted file, with the layers of the network that it was made from."""

    def __init__(self, network: Layers, model: tflite.Model) -> None:
        self.network, self.trace, self.model = network, network.trace, model
        self.callers = {index: op for op in model.ops for index in op.calls}
        self.ends = model.output_ops()
        self.unmatched = dict(network.recurrent)

    def lines(self) -> list[list[str]]:
        """The names of the layers of each op."""
        scopes = {op: self._scopes(op) for op in self.model.ops}
        return [
            list(dict.fromkeys(n for scope in scopes[self._caller(op)] for n in self.network.names(scope)))
            for op in self.model.ops
        ]

    def _caller(self, op: tflite.Op) -> tflite.Op:
        """The op itself or, in the body of a loop, the loop."""
        while op.subgraph in self.callers:
            op = self.callers[op.subgraph]
        return op

    def _scopes(self, op: tflite.Op) -> list[str]:
        """The scopes of the layers that are fused into an op, that of the kernel first."""
        found = _known(self.trace, op.outputs)
        if not found and op.name not in BORDER:  # the converter gave it a name without a scope
            last = [self.trace.output_scope(self.ends[op])] if op in self.ends else []
            found = list(dict.fromkeys(filter(None, [*_known(self.trace, op.kernels), *last, *self._lstm(op)])))
        kernels = [scope for scope in found if self._sizes(scope)]
        if not op.weights or not kernels:
            return found
        # An op has one kernel. The converter may add the name of another layer, with which it shares a constant.
        size = sum(tensor.elements for tensor in op.weights)
        own = next((scope for scope in kernels if size in self._sizes(scope)), kernels[0])
        return [own, *(scope for scope in found if scope not in kernels)]

    def _sizes(self, scope: str) -> set[int]:
        """Numbers of weights of the kernels of a layer, each and all."""
        sizes = [int(np.prod(weight.shape)) for weight in self.trace.scopes[scope].weights if weight.shape.rank > 1]
        return {*sizes, sum(sizes)} if sizes else set()

    def _lstm(self, op: tflite.Op) -> Iterator[str]:
        """The scope of the LSTM layer with the weights of a fused op, which has no name of its layer."""
        if op.name != "UNIDIRECTIONAL_SEQUENCE_LSTM":
            return
        for scope, layer in self.unmatched.items():
            kernels = (layer.cell.kernel, layer.cell.recurrent_kernel)
            if all(_holds(op, slots, kernel.numpy().T) for slots, kernel in zip(_LSTM, kernels, strict=True)):
                del self.unmatched[scope]
                yield scope
                return


def _known(trace: Trace, tensors: Sequence[tflite.Tensor]) -> list[str]:
    """The scopes in the names of tensors, the last of each name first: there the converter puts the kernel's."""
    found = (trace.scope(part) for tensor in tensors for part in reversed(tensor.name.split(";")))
    return list(dict.fromkeys(filter(None, found)))


def _holds(op: tflite.Op, slots: Sequence[int], values: Any) -> bool:
    """Whether the inputs of an op at these positions, one below the other, are the float values after rounding."""
    tensors = [tensor for slot in slots if (tensor := op.sources[slot]) is not None and tensor.constant]
    if len(tensors) < len(slots) or any(tensor.shape[1:] != values.shape[1:] for tensor in tensors):
        return False
    stored = np.concatenate([constant(tensor) for tensor in tensors])
    scales = [scale for tensor in tensors for scale in tensor.scales]
    step = STEP * max(scales) if scales else FLOAT * float(np.abs(values).max())
    return stored.shape == values.shape and bool(np.abs(stored - values).max() <= step)
