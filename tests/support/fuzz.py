"""Hostile .tflite files, made from real ones by seed, and what the code that meets a user's file makes of them.

``python -m tests.support.fuzz FOLDER --count 10000 --seed 1`` (``scripts/fuzz``) saves each file that shows a bug in
FOLDER.
"""

import argparse
import math
import random
import resource
import struct
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from pipeline import tflite
from pipeline.audit import inspection
from pipeline.core import processes
from pipeline.core.errors import EdgepipeError, StageError
from pipeline.verify import measurement
from pipeline.verify.interpreters import tflm
from pipeline.verify.runtimes import comparison
from pipeline.verify.runtimes.runtime import RUNTIMES
from tests.support import tflite_models
from tests.support.edits import Root, pack, unpack

SEEDS = (
    "int8", "float32", "float16", "dynamic", "int16x8", "uint8_io", "elu", "multi", "lstm", "loop", "products",
    "any_batch",
)  # fmt: skip
LIMITS = processes.Limits(seconds=300, memory=1 << 30, message=64 << 20)  # of a batch, on a machine however busy
SECONDS = 2  # of processor time for one file, which takes 10 ms on a quiet machine
BATCH = 500  # files that one process takes, as long as none ends it
LARGEST = 1 << 18  # elements of an input that is fed


# ---- damage to bytes


def damage(content: bytes, rng: random.Random) -> bytes:
    """Cut off, with other bits, with noise, with extreme offsets, with a part over another, or noise alone."""
    data = bytearray(content)
    kind = rng.randrange(6)
    if kind == 0:
        return bytes(data[: rng.randrange(len(data))])
    if kind == 1:  # bits
        for _ in range(rng.randint(1, 12)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == 2:  # a stretch of noise
        start = rng.randrange(8, len(data))
        data[start : start + 32] = rng.randbytes(min(32, len(data) - start))
    elif kind == 3:  # sizes and offsets
        extreme = (0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 0x40000000, len(data), 0, 1, rng.randrange(1 << 32))
        for _ in range(rng.randint(1, 4)):
            struct.pack_into("<I", data, 4 * rng.randrange(len(data) // 4), rng.choice(extreme))
    elif kind == 4:  # one stretch over another
        start, target = rng.randrange(len(data) - 64), rng.randrange(8, len(data) - 64)
        data[target : target + 64] = data[start : start + 64]
    else:
        return content[:8] + rng.randbytes(rng.randrange(4096))
    return bytes(data)


# ---- changes to the structure


def _shape(root: Root, rng: random.Random) -> None:
    tensor = rng.choice(rng.choice(root.subgraphs).tensors)
    shape = list(tensor.shape if tensor.shape is not None else [])
    sizes = (0, 1, 2, 3, 7, 64, 1000, 70_000, 1 << 20, 1 << 30, 2**31 - 1, -1)
    if shape and rng.random() < 0.7:
        shape[rng.randrange(len(shape))] = rng.choice(sizes)
    else:
        shape = [rng.choice(sizes[:6]) for _ in range(rng.randrange(7))]
    tensor.shape = shape
    if rng.random() < 0.5:  # and the data that goes with it
        root.buffers[tensor.buffer].data = None


def _signature_of_shape(root: Root, rng: random.Random) -> None:
    tensor = rng.choice(rng.choice(root.subgraphs).tensors)
    tensor.shapeSignature = [rng.choice((-1, 0, 1, 5)) for _ in range(rng.randrange(6))]


def _type(root: Root, rng: random.Random) -> None:
    rng.choice(rng.choice(root.subgraphs).tensors).type = rng.randrange(20)


def _buffer(root: Root, rng: random.Random) -> None:
    rng.choice(rng.choice(root.subgraphs).tensors).buffer = rng.randrange(len(root.buffers) + 1)


def _constant(root: Root, rng: random.Random) -> None:
    """What a shape, an axis or a bias says."""
    buffer = rng.choice(root.buffers)
    if buffer.data is not None and len(buffer.data):
        count = len(buffer.data)
        words = np.array([rng.choice((0, 1, -1, -5, 2**31 - 1, -(2**31), 1000)) for _ in range(count // 4 + 1)], "<i4")
        buffer.data = words.view(np.uint8)[:count]


def _scale(root: Root, rng: random.Random) -> None:
    found = [t for g in root.subgraphs for t in g.tensors if t.quantization and t.quantization.scale is not None]
    if found:
        scale = np.array(rng.choice(found).quantization.scale, np.float32)
        values = (0.0, -1.0, 1e-45, 1e-30, 1e-9, 1e9, 3e38, float("inf"), float("nan"), 1.0)
        scale[rng.randrange(len(scale)) :] = rng.choice(values)
        rng.choice(found).quantization.scale = scale


def _zero_point(root: Root, rng: random.Random) -> None:
    found = [t for g in root.subgraphs for t in g.tensors if t.quantization and t.quantization.zeroPoint is not None]
    if found:
        points = rng.choice(found).quantization
        points.zeroPoint = [rng.choice((0, 127, -129, 1 << 20, 2**63 - 1, -(2**63))) for _ in points.zeroPoint]


def _axis(root: Root, rng: random.Random) -> None:
    found = [t for g in root.subgraphs for t in g.tensors if t.quantization]
    if found:
        rng.choice(found).quantization.quantizedDimension = rng.choice((-1, 0, 1, 2, 3, 4, 99))


def _op_code(root: Root, rng: random.Random) -> None:
    code = rng.choice(root.operatorCodes)
    code.builtinCode = rng.randrange(210)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)


def _op_version(root: Root, rng: random.Random) -> None:
    rng.choice(root.operatorCodes).version = rng.choice((-1, 0, 1, 2, 5, 99))


def _ops(graph: Any) -> list[Any]:
    return list(graph.operators) if graph.operators is not None else []


def _operand(root: Root, rng: random.Random) -> None:
    graph = rng.choice(root.subgraphs)
    found = [op for op in _ops(graph) if op.inputs is not None and len(op.inputs)]
    if found:
        op = rng.choice(found)
        inputs = list(op.inputs)
        kind = rng.randrange(4)
        if kind == 0:
            inputs.pop()
        elif kind == 1:
            inputs.append(rng.randrange(len(graph.tensors)))
        else:
            inputs[rng.randrange(len(inputs))] = rng.randrange(-1, len(graph.tensors))
        op.inputs = inputs


def _result(root: Root, rng: random.Random) -> None:
    graph = rng.choice(root.subgraphs)
    if _ops(graph):
        op = rng.choice(graph.operators)
        outputs = list(op.outputs if op.outputs is not None else [])
        op.outputs = rng.choice((outputs[:-1], [*outputs, rng.randrange(len(graph.tensors))], outputs[::-1]))


def _ports(root: Root, rng: random.Random) -> None:
    graph = rng.choice(root.subgraphs)
    side = rng.choice(("inputs", "outputs"))
    setattr(graph, side, [rng.randrange(len(graph.tensors)) for _ in range(rng.randrange(4))])


def _options(root: Root, rng: random.Random) -> None:
    """Strides, paddings, axes, activations, subgraphs to run, sizes of windows."""
    found = [op.builtinOptions for graph in root.subgraphs for op in _ops(graph) if op.builtinOptions is not None]
    if found:
        options = rng.choice(found)
        numbers = [name for name, value in vars(options).items() if isinstance(value, int | float | bool)]
        if numbers:
            name = rng.choice(numbers)
            value = rng.choice((0, 1, 2, 3, 100)) if rng.random() < 0.6 else rng.choice((-1, 127, -128, 2**31 - 1))
            setattr(options, name, type(getattr(options, name))(value))


def _no_options(root: Root, rng: random.Random) -> None:
    ops = [op for graph in root.subgraphs for op in _ops(graph)]
    if ops:
        op = rng.choice(ops)
        op.builtinOptions, op.builtinOptionsType = None, 0


def _lost_op(root: Root, rng: random.Random) -> None:
    graph = rng.choice(root.subgraphs)
    if _ops(graph):
        graph.operators.pop(rng.randrange(len(graph.operators)))


def _variable(root: Root, rng: random.Random) -> None:
    rng.choice(rng.choice(root.subgraphs).tensors).isVariable = True


def _sparse(root: Root, rng: random.Random) -> None:
    tensor = rng.choice(rng.choice(root.subgraphs).tensors)
    tensor.sparsity = sparsity = schema.SparsityParametersT()
    sparsity.traversalOrder = [rng.randrange(5) for _ in range(rng.randrange(5))]
    sparsity.dimMetadata = []
    for _ in range(rng.randrange(4)):
        dimension = schema.DimensionMetadataT()
        dimension.format, dimension.denseSize = rng.randrange(2), rng.choice((0, 1, 8, 2**31 - 1))
        sparsity.dimMetadata.append(dimension)


def _signatures(root: Root, rng: random.Random) -> None:
    if root.signatureDefs:
        signature = rng.choice(root.signatureDefs)
        if rng.random() < 0.3:
            signature.subgraphIndex = rng.randrange(len(root.subgraphs))
        for port in (*(signature.inputs or []), *(signature.outputs or [])):
            if rng.random() < 0.3:
                port.tensorIndex = rng.randrange(len(root.subgraphs[0].tensors))


CHANGES: tuple[Callable[[Root, random.Random], None], ...] = (
    _shape, _shape, _signature_of_shape, _type, _buffer, _constant, _scale, _scale, _zero_point, _axis, _op_code,
    _op_version, _operand, _result, _ports, _options, _options, _no_options, _lost_op, _variable, _sparse, _signatures,
)  # fmt: skip


def change(content: bytes, rng: random.Random) -> bytes:
    """A well-formed file that says something else."""
    while True:
        root = unpack(content)
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            rng.choice(CHANGES)(root, rng)
        try:
            return pack(root)
        except (TypeError, ValueError, struct.error):  # a number that the field can't hold
            continue


# ---- what becomes of them


class Outcome(NamedTuple):
    """what: "refused" by the reader, "ran", "not run" with an error of ours, "ended" with its process, or a "bug"."""

    path: Path
    what: str
    why: str


def make(seeds: Sequence[Path], folder: Path, count: int, seed: int) -> list[Path]:
    """That many files, one in four with damaged bytes and the others with a changed structure."""
    contents = [path.read_bytes() for path in seeds]
    paths = []
    for number in range(count):
        rng = random.Random(f"{seed} {number}")
        content = contents[number % len(contents)]
        path = folder / f"{seeds[number % len(seeds)].stem}-{seed}-{number}.tflite"
        path.write_bytes(damage(content, rng) if rng.random() < 0.25 else change(content, rng))
        paths.append(path)
    return paths


def outcomes(paths: Sequence[Path]) -> Iterator[Outcome]:
    """Of each file, in processes that take many; one that ends its process costs the next a new one."""
    left = list(paths)
    while left:
        heard: list[tuple[str, str]] = []
        batch = left[:BATCH]
        try:
            with processes._Child("the file", None, LIMITS, _examine, (batch,), {}) as process:
                process.listen(heard.append)
        except StageError as error:
            heard.append(("ended", str(error)))
        yield from (Outcome(path, *said) for path, said in zip(batch, heard, strict=False))
        left = left[len(heard) :]


def _examine(send: processes.Send, paths: Sequence[Path]) -> None:
    for path in paths:
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time()) + SECONDS, hard))
        send(_outcome(path))


def _outcome(path: Path) -> tuple[str, str]:
    """The functions that `inspect` and `verify` run in their child processes."""
    try:
        model = tflite.read(path)
    except EdgepipeError as error:
        return "refused", str(error)
    try:
        inspection.facts(model)
        measurement.read(path.stem, path).model_dump_json()
    except MemoryError:
        return "not run", "memory"
    except Exception:
        return "bug", traceback.format_exc()
    said = [_run(runtime, model) for runtime in RUNTIMES]
    return max(said, key=lambda one: ("not run", "ran", "bug").index(one[0]))


def _run(runtime: str, model: tflite.Model) -> tuple[str, str]:
    rng = np.random.default_rng(0)
    ports = model.signature
    if any(tensor.elements > LARGEST for tensor in (*ports.inputs.values(), *ports.outputs.values())):
        return "not run", "too large to feed"
    inputs = {name: rng.random((2, *tensor.shape[1:]), np.float32) for name, tensor in ports.inputs.items()}
    found: list[dict[str, comparison.Raw]] = []
    try:
        comparison._run(found.append, runtime, Path(model.path or ""), inputs)
        for name, raw in found[0].items():
            comparison.apart(runtime, raw, raw, ports.outputs[name].scale, len(raw))
    except (EdgepipeError, tflm.Unavailable, MemoryError) as error:
        return "not run", str(error)
    except Exception:
        return "bug", traceback.format_exc()
    return "ran", ""


def main() -> None:
    arguments = argparse.ArgumentParser(description="Hostile .tflite files against the reader and the runtimes.")
    arguments.add_argument("folder", type=Path, help="where the seed models and the files that show a bug are kept")
    arguments.add_argument("--count", type=int, default=10_000, help="how many files (default: %(default)s)")
    arguments.add_argument("--seed", type=int, default=1, help="another seed makes other files (default: %(default)s)")
    given = arguments.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    models = given.folder / "models"
    if not models.is_dir():
        models.mkdir()
        processes.call("the models", given.folder / "log", print, tflite_models.build, models)
    seeds = [models / f"{name}.tflite" for name in SEEDS]
    counts: Counter[str] = Counter()
    for path, what, why in outcomes(make(seeds, given.folder, given.count, given.seed)):
        counts[f"{what}: {why}" if what == "ended" else what] += 1
        if what == "bug":
            print(f"{path}\n{why}", file=sys.stderr)
        elif what == "ended":
            print(f"{path.name}: {why.splitlines()[0]}")
            path.unlink()
        else:
            path.unlink()
    print(f"{given.count} files, seed {given.seed}")
    print("\n".join(f"{count:8,} {what}" for what, count in counts.most_common()))
    sys.exit(1 if counts["bug"] else 0)


if __name__ == "__main__":
    main()
