"""The stage `compress`: store weights as indices into lookup tables, for TensorFlow Lite Micro."""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from pipeline import tflite
from pipeline.core import units
from pipeline.core.errors import Fault, PlacedFault, StageError
from pipeline.core.progress import Progress
from pipeline.data.source import Examples
from pipeline.stages.follower import Follower
from pipeline.stages.sidecar import write_facts
from pipeline.stages.stage import TFLITE, Inputs, Stage
from pipeline.tflite import edit
from pipeline.tflite.lut import DECODE, HEADER
from pipeline.verify.runtimes import comparison

TOOLS = "tflite_micro.tensorflow.lite.micro"
OVERHEAD = 128  # bytes of a decoding op and its tensors in a file, without the weights (measured: 88 to 112)
MAX_BITS = 7  # largest width of an index in the format
INTEGER = ("int8", "int16x8")  # quantizations whose weights the format supports


class Table(NamedTuple):
    """How a weight tensor is encoded.

    bits   width of an index
    axis   the axis that has a lookup table for each of its positions; None for one table
    bytes  size of the indices and tables
    """

    bits: int
    axis: int | None
    bytes: int


class Compress(Follower):
    """Weight compression of TensorFlow Lite Micro: lookup tables and indices of a few bits, decoded at run time.

    It pays off after a cluster stage: 16 different weights in a channel need indices of 4 bits. Only a TensorFlow Lite
    Micro with the op TFLM_DECODE runs the file. The stage checks that each weight decodes to the same bytes, and that
    outputs on examples of the validation split equal those of the uncompressed file. Decoding costs RAM: while an op
    runs, its decoded weights are in the arena.
    """

    takes = "tflite"
    gives = "tflite"
    libraries = ("tflite-micro", "numpy")
    not_behind: ClassVar[Mapping[str, str]] = {"compress": "the file is compressed already"}

    stage: Literal["compress"]

    def unfit_behind(self, above: Sequence[Stage]) -> Iterator[PlacedFault]:
        yield from super().unfit_behind(above)
        quantization = getattr(above[0], "quantization", "int8")
        if quantization not in INTEGER:
            rule = f"needs a file in {' or '.join(INTEGER)}: TensorFlow Lite Micro decodes no other weights"
            yield ("stage",), Fault(rule, received=f"{above[0].label} in {quantization}")

    def run(self, inputs: Inputs, work: Path) -> None:
        source = inputs.source.tflite
        plain = tflite.read(source)
        if plain.compressed:
            raise StageError(Fault("the file is compressed already", received=inputs.source.name))
        tables = {tensor: _table(tensor) for op in plain.ops for tensor in op.weights}
        chosen = {tensor: table for tensor, table in tables.items() if table and _saves(tensor, table)}
        if not chosen:
            rule = "no weights have so few different values that a table of them would be smaller"
            raise StageError(Fault(rule, received=_counts(plain), do="put a cluster stage above the convert stage"))
        content = _encode(plain.content, chosen)
        compressed = tflite.read(content)
        _check_weights(plain, compressed)
        path = work / TFLITE
        path.write_bytes(content)
        examples = _check_outputs(source, path, plain, inputs.data.split("validation"))
        inputs.report(Progress("example", examples, examples))
        layers = [_row(plain.layer_of(tensor), tensor, table, tensor in chosen) for tensor, table in tables.items()]
        write_facts(work, layers=layers, notes=[_price(plain, compressed)])


def _table(tensor: tflite.Tensor) -> Table | None:
    """The encoding, with a table for each quantization scale; None for types and counts that the format can't store.

    One table for a tensor with several scales can be smaller, but the interpreter of 2026-10 decodes it wrong.
    """
    if tensor.dtype not in ("INT8", "INT16") or tensor.sparse:
        return None
    values = tensor.data()
    axis = tensor.axis if len(tensor.scales) > 1 else None
    parts = [values] if axis is None else np.moveaxis(values, axis, 0)
    most = max(np.unique(part).size for part in parts)
    bits = max(1, (most - 1).bit_length())
    size = -(-values.size * bits // 8) + HEADER + len(parts) * most * values.itemsize
    return Table(bits, axis, size) if bits <= MAX_BITS else None


def _saves(tensor: tflite.Tensor, table: Table) -> bool:
    return table.bytes + OVERHEAD < tensor.bytes


def _counts(model: tflite.Model) -> str:
    return "; ".join(f"{name}: {count}" for name, count in model.unique_values().items())


def _encode(content: bytes, chosen: dict[tflite.Tensor, Table]) -> bytes:
    """The file with these tensors encoded. Raises StageError if tflite-micro's tools are not installed."""
    names = ("model_editor", "lut", "spec", "decode_insert")
    editor, lut, spec, insert = (_tool(f"compression.{name}") for name in names)
    model = editor.read(content)
    results = {}
    for tensor, table in chosen.items():
        mode = spec.PerTensor() if table.axis is None else spec.PerChannel(table.axis)
        whole = model.subgraphs[tensor.subgraph].tensors[tensor.index]
        method = spec.LookUpTableCompression(table.bits, mode)
        results[tensor.subgraph, tensor.index] = lut.LutCompressor().compress(whole, method)
    insert.insert_decode_operators(model, results)
    _tidy(model)
    return edit.packed_tightly(edit.unpacked(bytes(model.build())))


def _tool(name: str) -> Any:
    try:
        return importlib.import_module(f"{TOOLS}.{name}")
    except ImportError as error:
        rule = "compression needs the tools of tflite-micro, which come with its wheel for Linux x86_64"
        raise StageError(Fault(rule, received=str(error), do="pip install --upgrade --pre tflite-micro")) from error


def _tidy(model: Any) -> None:
    """Give decoded tensors their original names; remove the names and scales that the tools leave on encoded ones."""
    for graph in model.subgraphs:
        for op in graph.operators:
            if op.custom_code == DECODE:
                for encoded, about, decoded in zip(op.inputs[0::2], op.inputs[1::2], op.outputs, strict=True):
                    decoded.name = decoded.name.removesuffix("_decoded")
                    encoded._fb.quantization = None
                    encoded.name = about.name = None


def _check_weights(plain: tflite.Model, compressed: tflite.Model) -> None:
    """Check, with our own decoder, that every op gets the same weights as before. Raises StageError otherwise."""
    pairs = zip(
        (weights for op in plain.ops for weights in op.weights),
        (weights for op in compressed.ops for weights in op.weights),
        strict=True,
    )
    for before, after in pairs:
        if before.scales != after.scales or not np.array_equal(before.data(), after.data()):
            raise StageError(Fault("compressed weights must decode to what they were", received=before.name))


def _check_outputs(plain: Path, compressed: Path, model: tflite.Model, examples: Examples) -> int:
    """Check that both files give equal outputs on TensorFlow Lite Micro; returns the number of examples.

    Raises StageError if they differ.
    """
    count = comparison.sample(model, "tflm", len(examples))
    x, _ = examples.batch(np.arange(count))
    before, after = (comparison.outputs(path, x, "tflm") for path in (plain, compressed))
    if not np.array_equal(before, after):
        rule = "the compressed file must give equal outputs on TensorFlow Lite Micro"
        raise StageError(Fault(rule, received=f"{np.mean(before != after):.1%} of the values differ"))
    return count


def _price(plain: tflite.Model, compressed: tflite.Model) -> str:
    saved = units.whole(plain.bytes - compressed.bytes)
    more = units.whole(compressed.peak_activation_bytes - plain.peak_activation_bytes)
    return f"saves {saved} bytes of flash, and decoded weights take {more} bytes more of the arena while their op runs"


def _row(layer: str, tensor: tflite.Tensor, table: Table | None, done: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"layer": layer or tensor.name, "kind": tensor.dtype, "done": done}
    if table is None:
        return row | {"why": f"has more than {1 << MAX_BITS} different values a channel"}
    why = "" if done else f"{table.bytes} bytes with its table, {tensor.bytes} without; another op takes {OVERHEAD}"
    return row | {"why": why, "bits": table.bits, "bytes": table.bytes, "plain_bytes": tensor.bytes}
