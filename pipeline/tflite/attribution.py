"""Which Keras layers each op of a file is of: as the file says, or guessed from names if it does not.

The file says it in a metadata buffer named ``EDGEPIPE_LAYERS``, deflated text in UTF-8: a line for each op of the file
in its order, with the names of its layers separated by tabs, the layer with the kernel first. The line of an op
without a layer is empty. Names follow a file through edits, and so do lines as long as the ops stay the same: the ops
that decode compressed weights have no line. It is treated as untrusted.
"""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.tflite.graph import Op, Signature, Subgraph, Tensor
from pipeline.tflite.lut import DECODE
from pipeline.tflite.names import guessed

NAME = "EDGEPIPE_LAYERS"
MOST_BYTES = 1 << 20  # limit of the text's size; a network of 1,000 layers has 50 kB

Layers = tuple[str, ...]  # names of the layers of an op, the one with the kernel first


@dataclass(frozen=True)
class Attribution:
    """The layers of each op that has any, and the layer of each tensor.

    known  whether the file says so; if not, all is guessed from names
    """

    known: bool
    ops: Mapping[Op, Layers]
    tensors: Mapping[Tensor, str]


def encoded(lines: Sequence[Iterable[str]]) -> bytes:
    """Return the metadata for the layers of each op, in the order of the file."""
    return zlib.compress("\n".join("\t".join(line) for line in lines).encode(), 9)


def attribution(subgraphs: Sequence[Subgraph], signatures: Sequence[Signature], stated: bytes | None) -> Attribution:
    """Return the attribution of a file. stated: its metadata, which counts only if it has a line for each op."""
    ops = [op for graph in subgraphs for op in graph.ops if op.name != DECODE]
    lines = _decoded(stated) if stated is not None else None
    known = lines is not None and len(lines) == len(ops)
    rows = zip(ops, lines, strict=True) if lines is not None and known else ((op, _guessed(op)) for op in ops)
    found = {op: layers for op, layers in rows if layers}
    return Attribution(known, found, dict(_tensors(subgraphs, signatures, found, known)))


def _decoded(content: bytes) -> list[Layers] | None:
    """Return the layers of each op; None for anything but what `encoded` writes."""
    inflate = zlib.decompressobj()
    try:
        text = inflate.decompress(content, MOST_BYTES).decode()
    except (zlib.error, UnicodeDecodeError):
        return None
    return [tuple(filter(None, line.split("\t"))) for line in text.split("\n")] if inflate.eof else None


def _guessed(op: Op) -> Layers:
    """Guess the layers of an op from the name of its output, or else from those of its weights."""
    names = [tensor.name for tensor in (*op.outputs[:1], *op.kernels)]
    return next(filter(None, (guessed(name, op.name) for name in names)), ())


def _tensors(
    subgraphs: Sequence[Subgraph], signatures: Sequence[Signature], ops: Mapping[Op, Layers], known: bool
) -> Iterable[tuple[Tensor, str]]:
    """Yield the layer of each tensor that has one: that of the op that writes it, or of all ops that read a constant.

    An input of the file is the input layer of the name that a signature gives it. Where the file does not say which
    layers its ops are of, the tensor's own name is used too.
    """
    inputs = {tensor: name for signature in signatures for name, tensor in signature.inputs.items()}
    readers: dict[Tensor, set[str]] = {}
    written: dict[Tensor, str] = {}
    for graph in subgraphs:
        for op in graph.ops:
            layer = ops.get(op, ("",))[0]
            written.update(dict.fromkeys(op.outputs, layer))
            for tensor in {each for each in (*op.reads, *op.sources) if each is not None and each.constant}:
                readers.setdefault(tensor, set()).add(layer)
    for tensor in (tensor for graph in subgraphs for tensor in graph.tensors):
        own = () if known else guessed(tensor.name)
        of = readers.get(tensor, set())
        found = (written.get(tensor), *own[:1], inputs.get(tensor), *(of if len(of) == 1 else ()))
        layer = next(filter(None, found), "")
        if layer:
            yield tensor, layer
