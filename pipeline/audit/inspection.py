"""Inspect an untrusted .tflite file in a separate process with limits of time and memory."""

import math
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pipeline import tflite
from pipeline.core import processes
from pipeline.core.errors import InputError, StageError
from pipeline.data import contract
from pipeline.tflite import demands

Facts = dict[str, Any]

PER_BYTE = 4  # bytes of memory for each byte of the file: the content, its values, and temporary arrays
SECONDS_PER_BYTE = 1 / (20 << 20)  # measured: 0.1 s for 20 MiB of int8 weights on a quiet machine


def limits(path: Path) -> processes.Limits:
    """Limits of time, memory and message size for reading a file. Time and memory grow with its size."""
    size = path.stat().st_size if path.is_file() else 0
    return processes.Limits(60 + size * SECONDS_PER_BYTE, (1 << 30) + PER_BYTE * size, 64 << 20)


def inspect(path: Path, within: processes.Limits | None = None) -> Facts:
    """Read all facts of a file, as plain values for JSON.

    Raises InputError for a file that is not a valid .tflite file or can't be read within the limits.
    """
    try:
        (facts,) = processes.gather("reading it", [(_tell, path)], within or limits(path), preload=(__name__,))
    except StageError as error:
        raise blamed(error, path) from None
    found: Facts = facts
    return found


def blamed(error: StageError, path: str | os.PathLike[str]) -> InputError:
    """Turn the failure of a process that only handled this file into an InputError about the file."""
    return InputError(*(replace(fault, where=fault.where or os.fspath(path)) for fault in error.faults))


def _tell(send: processes.Send, path: Path) -> None:
    send(facts(tflite.read(path)))


def facts(model: tflite.Model) -> Facts:
    """Facts of a model. Lists of tensors, layers and float uses are complete. Shapes are (batch, ...), sizes bytes."""
    floats = model.floats()
    ops = list(model.ops)
    called = model.signature
    names = {tensor: name for ports in (called.inputs, called.outputs) for name, tensor in ports.items()}
    callers: dict[int, list[str]] = defaultdict(list)
    for op in ops:
        for index in dict.fromkeys(op.calls):
            callers[index].append(f"{op.name} #{op.index} of subgraph {op.subgraph}")
    carried, why = contract.read(model.metadata, [tensor.shape for tensor in model.inputs])
    return {
        "file": model.path,
        "sha256": model.sha256,
        "bytes": model.bytes,
        "description": model.description,
        "min_runtime_version": model.min_runtime_version or None,
        "metadata": {name: len(content) for name, content in model.metadata.items()},
        "quantization": model.quantization,
        "integer_only": not floats,
        "floats": [str(use) for use in floats],
        "float_uses": [asdict(use) for use in floats],
        "inputs": [_port(tensor) | {"signature_name": names.get(tensor)} for tensor in model.inputs],
        "outputs": [_port(tensor) | {"signature_name": names.get(tensor)} for tensor in model.outputs],
        "contract": carried and carried.model_dump(mode="json"),
        "contract_why": why,
        "signatures": [_signature(signature) for signature in model.signatures],
        "subgraphs": [_subgraph(graph, callers[graph.index]) for graph in model.subgraphs],
        "stateful": model.stateful,
        "state": model.state._asdict(),
        "dynamic": list(demands.dynamic(model)),
        "ops": model.ops_count(),
        "op_versions": demands.op_versions(model),
        "custom_ops": sorted({op.name for op in ops if op.custom}),
        "macs": model.macs,
        "parameters": model.parameters,
        "peak_activation_bytes": model.peak_activation_bytes,
        "sparsity": model.sparsity(),
        "layers": [_layer(layer) for layer in model.layers()],
        "tensors": [_tensor(tensor, model.layer_of(tensor)) for graph in model.subgraphs for tensor in graph.tensors],
        "layers_known": model.layers_known,
    }


def _finite(scale: float | None) -> float | None:
    """None instead of NaN and infinity, which JSON does not have."""
    return scale if scale is not None and math.isfinite(scale) else None


def _layer(layer: tflite.Layer) -> Facts:
    return asdict(layer) | {"scale": _finite(layer.scale)}


def _port(tensor: tflite.Tensor) -> Facts:
    return {
        "name": tensor.name, "shape": tensor.shape, "dtype": tensor.dtype, "scale": _finite(tensor.scale),
        "zero_point": tensor.zero_point,
    }  # fmt: skip


def _signature(signature: tflite.Signature) -> Facts:
    sides = {"inputs": signature.inputs, "outputs": signature.outputs}
    named = {side: {name: _port(tensor) for name, tensor in ports.items()} for side, ports in sides.items()}
    return {"key": signature.key, "subgraph": signature.subgraph, **named}


def _subgraph(graph: tflite.Subgraph, callers: Sequence[str]) -> Facts:
    """callers: the ops that call the subgraph; none for an entry point."""
    return {
        "index": graph.index,
        "name": graph.name,
        "ops": len(graph.ops),
        "tensors": len(graph.tensors),
        "inputs": [_port(tensor) for tensor in graph.inputs],
        "outputs": [_port(tensor) for tensor in graph.outputs],
        "peak_activation_bytes": tflite.peak_bytes(graph),
        "run_by": list(callers),
    }


def _tensor(tensor: tflite.Tensor, layer: str) -> Facts:
    """A row of the list of all tensors. axis is the dimension of the scales; None unless there are several scales."""
    return {
        "subgraph": tensor.subgraph,
        "index": tensor.index,
        "name": tensor.name,
        "layer": layer,
        "shape": tensor.shape,
        "shape_signature": tensor.shape_signature,
        "dtype": tensor.dtype,
        "bytes": tensor.bytes,
        "constant": tensor.constant,
        "variable": tensor.variable,
        "sparse": tensor.sparse,
        "scales": tuple(map(_finite, tensor.scales)),
        "zero_points": tensor.zero_points,
        "axis": tensor.axis if len(tensor.scales) > 1 else None,
    }
