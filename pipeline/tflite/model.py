"""The contents of a .tflite file, and the facts that follow from them: sizes, MACs, sparsity, use of floats."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from pipeline.tflite import attribution, macs
from pipeline.tflite.graph import Op, Signature, Subgraph, Tensor
from pipeline.tflite.int8_spec import BORDER
from pipeline.tflite.lut import DECODE
from pipeline.tflite.memory import peak_bytes
from pipeline.tflite.quantization import entries, quantization
from pipeline.tflite.state import State, state


@dataclass(frozen=True)
class FloatUse:
    """One use of float data: an op that reads or writes a float tensor, or a float input or output of the graph.

    op       name of the op; "graph" for the graph itself
    index    index of the op in its subgraph; -1 for the graph itself
    role     "reads" or "writes"; "takes" or "returns" for the graph itself
    made_by  name of the op that writes the tensor, "the caller", "the file" (constants) or "nobody"
    layer    name of the Keras layer that the tensor comes from; "" if unknown
    """

    subgraph: int
    op: str
    index: int
    role: str
    tensor: str
    dtype: str
    made_by: str
    layer: str = ""

    def __str__(self) -> str:
        origin = f", made by {self.made_by}" if self.role == "reads" else ""
        layer = f" (layer {self.layer!r})" if self.layer else ""
        return f"{self.op} {self.role} {self.dtype} {self.tensor!r}{origin}{layer}"


@dataclass(frozen=True)
class Layer:
    """One op with its first output and, if it has any, its weights. The fields are those of the report's LayerFacts.

    index           position among all ops of the file
    name            name of the Keras layer, or of the output
    shape           shape of the first output; dtype, scale and zero_point are also the first output's
    weights_scales  number of scales of the first weight tensor
    sparsity        fraction of zeros in all weights, 0..1
    unique_values   number of different stored values that share a scale; the maximum over all weights
    macs            multiply-accumulates; None if unknown
    """

    index: int
    subgraph: int
    op: str
    version: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None
    zero_point: int | None
    weights_shape: tuple[int, ...] | None
    weights_dtype: str | None
    weights_scales: int | None
    sparsity: float | None
    unique_values: int | None
    macs: int | None
    parameters: int | None


class Kernel(NamedTuple):
    """A weight tensor, with the first op that reads it, the Keras layers of all that do, and its number of zeros."""

    tensor: Tensor
    op: Op
    layers: attribution.Layers
    zeros: int


@dataclass(frozen=True, eq=False)
class Model:
    """The contents of a .tflite file.

    path      path from which the file was read; None if read from bytes
    content   the bytes that everything else is read from
    sha256    digest of ``content``
    metadata  metadata buffers by name, unparsed
    """

    path: str | None
    content: bytes = field(repr=False)
    sha256: str
    description: str
    subgraphs: tuple[Subgraph, ...] = field(repr=False)
    signatures: tuple[Signature, ...] = field(repr=False)
    metadata: dict[str, bytes] = field(repr=False)

    @property
    def bytes(self) -> int:
        return len(self.content)

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Inputs of the first subgraph, which an interpreter runs by default, in file order (not Keras's order)."""
        return self.subgraphs[0].inputs

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        return self.subgraphs[0].outputs

    @property
    def signature(self) -> Signature:
        """The signature of the first subgraph; if it has none, one made from the names of its tensors."""
        for signature in self.signatures:
            if signature.subgraph == 0:
                return signature
        return Signature("", 0, _by_name(self.inputs), _by_name(self.outputs))

    @property
    def compressed(self) -> bool:
        """Whether it has weights that TFLite Micro decodes at run time; no other runtime has that op."""
        return any(op.name == DECODE for op in self.ops)

    @cached_property
    def state(self) -> State:
        """What it keeps between invocations, such as the state of an LSTM or of a streaming network."""
        return state(self.subgraphs)

    @property
    def stateful(self) -> bool:
        """Whether it keeps anything between invocations, so that outputs depend on the order of the examples."""
        return any(self.state)

    @property
    def min_runtime_version(self) -> str:
        """The oldest TensorFlow Lite version that has all op versions, as stated by the converter; "" if not stated."""
        return self.metadata.get("min_runtime_version", b"").rstrip(b"\0").decode("ascii", "replace")

    @property
    def ops(self) -> Iterator[Op]:
        """All ops of all subgraphs."""
        return (op for graph in self.subgraphs for op in graph.ops)

    def ops_count(self) -> dict[str, int]:
        """Return how often each op occurs, most frequent first. Custom ops are listed by their own names."""
        counts = Counter(op.name for op in self.ops)
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    @cached_property
    def _attribution(self) -> attribution.Attribution:
        return attribution.attribution(self.subgraphs, self.signatures, self.metadata.get(attribution.NAME))

    def output_ops(self) -> dict[Op, str]:
        """Return the op that computes each output, with the output's name; conversions to the caller's type aside."""
        made = {tensor: op for op in self.subgraphs[0].ops for tensor in op.outputs}
        found = {}
        for name, tensor in self.signature.outputs.items():
            seen: set[Op] = set()
            while (op := made.get(tensor)) and op.name in BORDER and op.reads and op not in seen:
                seen.add(op)
                tensor = op.reads[0]
            if op is not None:
                found[op] = name
        return found

    @property
    def layers_known(self) -> bool:
        """Whether the file says which Keras layers its ops are of; if not, they are guessed from names of tensors."""
        return self._attribution.known

    def layers_of(self, op: Op) -> attribution.Layers:
        """Return the names of the Keras layers fused into an op, the one with the kernel first; empty if unknown."""
        return self._attribution.ops.get(op, ())

    def layer_of(self, tensor: Tensor) -> str:
        """Return the Keras layer that a tensor is of; "" if unknown, and for a constant of several layers."""
        return self._attribution.tensors.get(tensor, "")

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of all ops, with each subgraph counted once, also a loop's body; see tflite.macs.

        Custom and StableHLO ops, whose count is unknown, add 0.
        """
        return sum(macs.count(op) or 0 for op in self.ops)

    @cached_property
    def parameters(self) -> int:
        """Number of elements of the float and quantized constants that ops read: weights, biases, tables."""
        return sum(tensor.elements for tensor in {tensor for op in self.ops for tensor in op.trained})

    @cached_property
    def quantization(self) -> str:
        """The quantization of the file as one word; see pipeline.tflite.quantization for the list."""
        return quantization(self.subgraphs, self.signatures)

    @property
    def integer_only(self) -> bool:
        """Whether no op reads or writes float data, and the graph neither takes nor returns any."""
        return not self.floats()

    def floats(self) -> tuple[FloatUse, ...]:
        """Return every use of float data, from the inputs and outputs of all ops of all subgraphs.

        Tensors that no op reads or writes are not data: an int8 LSTM lists five float intermediates that only carry
        ranges.
        """
        called = entries(self.subgraphs, self.signatures)
        return tuple(use for graph in self.subgraphs for use in self._floats(graph, graph.index in called))

    def _floats(self, graph: Subgraph, entry: bool) -> Iterator[FloatUse]:
        made = {tensor: op.name for op in graph.ops for tensor in op.outputs}
        made.update(dict.fromkeys(graph.inputs, "the caller"))
        layers = self._nearest_layers(graph)
        touched: set[Tensor] = set()
        for op in graph.ops:
            for role, tensors in (("reads", op.reads), ("writes", op.outputs)):
                touched.update(tensors)
                yield from (_use(op, role, each, made, layers) for each in dict.fromkeys(tensors) if each.floating)
        if entry:
            for role, tensors in (("takes", graph.inputs), ("returns", graph.outputs)):
                loose = (tensor for tensor in tensors if tensor.floating and tensor not in touched)
                yield from (FloatUse(graph.index, "graph", -1, role, t.name, t.dtype, "the caller") for t in loose)

    def _nearest_layers(self, graph: Subgraph) -> dict[Tensor, str]:
        """Return the Keras layer of each tensor or, if that is unknown, of what the op that writes it reads."""
        layers = {tensor: self.layer_of(tensor) for tensor in graph.tensors}
        for op in graph.ops:
            source = next((layers[tensor] for tensor in op.reads if layers[tensor]), "")
            for tensor in op.outputs:
                layers[tensor] = layers[tensor] or source
        return layers

    @cached_property
    def peak_activation_bytes(self) -> int:
        """Peak memory of activations, in bytes: the maximum over subgraphs; see pipeline.tflite.memory."""
        return max(peak_bytes(graph) for graph in self.subgraphs)

    @cached_property
    def _zeros(self) -> dict[Tensor, int]:
        """Number of zeros in each weight tensor."""
        return {tensor: _count_zeros(tensor) for tensor in dict.fromkeys(t for op in self.ops for t in op.kernels)}

    def kernels(self) -> dict[str, Kernel]:
        """Return each weight tensor, by name, with the layers of all ops that read it."""
        readers: dict[Tensor, list[Op]] = {tensor: [] for tensor in self._zeros}
        for op in self.ops:
            for tensor in op.kernels:
                readers[tensor].append(op)
        layers = {t: dict.fromkeys(name for op in ops for name in self.layers_of(op)) for t, ops in readers.items()}
        named = _by_name(self._zeros).items()
        return {name: Kernel(t, readers[t][0], tuple(layers[t]), self._zeros[t]) for name, t in named}

    def sparsity(self) -> dict[str, float]:
        """Return the fraction of zeros, 0..1, in each weight tensor, by name. A quantized zero is the zero point."""
        return {name: each.zeros / max(each.tensor.elements, 1) for name, each in self.kernels().items()}

    def unique_values(self) -> dict[str, int]:
        """Return the number of different stored values that share a scale in each weight tensor, by name.

        For per-tensor scales this counts the whole tensor, for per-channel scales the channel with the most values.
        """
        return {name: self._unique[each.tensor] for name, each in self.kernels().items()}

    @cached_property
    def _unique(self) -> dict[Tensor, int]:
        return {tensor: count_unique(tensor) for tensor in self._zeros}

    def layers(self) -> tuple[Layer, ...]:
        """Return one row for each op, numbered over all subgraphs. Ops without outputs (CALL_ONCE) have no row."""
        public = {tensor: name for signature in self.signatures for name, tensor in signature.outputs.items()}
        return tuple(self._layer(index, op, public) for index, op in enumerate(self.ops) if op.outputs)

    def _layer(self, index: int, op: Op, public: dict[Tensor, str]) -> Layer:
        output, weights = op.outputs[0], op.kernels
        first = weights[0] if weights else None
        elements = sum(tensor.elements for tensor in weights)
        return Layer(
            index=index,
            subgraph=op.subgraph,
            op=op.name,
            version=op.version,
            name=next(iter(self.layers_of(op)), "") or public.get(output, output.name),
            shape=output.shape,
            dtype=output.dtype,
            scale=output.scale,
            zero_point=output.zero_point,
            weights_shape=first.shape if first else None,
            weights_dtype=first.dtype if first else None,
            weights_scales=len(first.scales) or None if first else None,
            sparsity=sum(self._zeros[tensor] for tensor in weights) / elements if elements else None,
            unique_values=max((self._unique[tensor] for tensor in weights), default=None),
            macs=macs.count(op),
            parameters=op.parameters,
        )


def _by_name(tensors: Iterable[Tensor]) -> dict[str, Tensor]:
    """Return tensors by name. Repeated names (in another subgraph) and empty ones get a suffix ``#subgraph.index``."""
    named: dict[str, Tensor] = {}
    for tensor in tensors:
        taken = tensor.name in named or not tensor.name
        named[f"{tensor.name}#{tensor.subgraph}.{tensor.index}" if taken else tensor.name] = tensor
    return named


def _use(op: Op, role: str, tensor: Tensor, made: dict[Tensor, str], layers: dict[Tensor, str]) -> FloatUse:
    origin = "the file" if tensor.constant else made.get(tensor, "nobody")
    return FloatUse(op.subgraph, op.name, op.index, role, tensor.name, tensor.dtype, origin, layers.get(tensor, ""))


def _count_zeros(tensor: Tensor) -> int:
    """Return the number of elements equal to the zero point. Elements that a sparse tensor does not store are zero."""
    values = tensor.data()
    absent = tensor.elements - values.size if tensor.sparse else 0
    points = np.array(tensor.zero_points or (0,))
    if not tensor.sparse and points.size > 1 and points.any():
        along = [1] * len(tensor.shape)
        along[tensor.axis] = -1
        return int(np.count_nonzero(values == points.reshape(along)))
    return max(absent, 0) + int(np.count_nonzero(values == points[0]))


def count_unique(tensor: Tensor) -> int:
    """Return the number of different stored values of a constant that share a scale; see `Model.unique_values`."""
    values = tensor.data()
    if len(tensor.scales) > 1 and not tensor.sparse:
        ordered = np.sort(np.moveaxis(values, tensor.axis, 0).reshape(len(tensor.scales), -1), axis=1)
        return 1 + int(np.count_nonzero(np.diff(ordered, axis=1), axis=1).max()) if ordered.size else 0
    if values.dtype.itemsize == 1:
        return int(np.count_nonzero(np.bincount(values.reshape(-1).view(np.uint8), minlength=256)))
    return int(np.unique(values).size)
