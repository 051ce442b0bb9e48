"""Reports of runs that were never run: a good one, and those that go wrong."""

import io
from hashlib import sha256
from math import prod
from typing import Any

import pytest
from rich.console import Console

from pipeline.report import table
from pipeline.report.document import DataFacts, Report, Split, StepFacts
from pipeline.verify.model_facts import (
    ArenaFacts,
    CheckResult,
    ClassDrop,
    ClassFacts,
    Errors,
    KernelFacts,
    Latency,
    LayerFacts,
    ModelFacts,
    Paired,
    Port,
    RuntimeFacts,
    TensorError,
)

EVIL = "<script>alert('$x_{')</script>\x1b[31m|@all [a](http://b) " + "very_long_name" * 8


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def confusion(classes: int, each: int, wrong: int) -> tuple[tuple[int, ...], ...]:
    """Rows of `each` examples, of which up to `wrong` are off the diagonal."""
    rows = [[0] * classes for _ in range(classes)]
    for true, row in enumerate(rows):
        misses = (true * 7) % (wrong + 1)
        for number in range(misses):
            row[(true + 1 + number * 5) % classes] += 1
        row[true] += each - sum(row)
    return tuple(map(tuple, rows))


def layers(dtype: str, sparsity: float) -> tuple[LayerFacts, ...]:
    """The ops of a small network for 8 x 8 images."""
    integer = dtype == "int8"
    shapes: list[tuple[str, str, tuple[int, ...], tuple[int, ...] | None, int | None]] = [
        ("CONV_2D", "small_cnn/conv1/Relu;small_cnn/bn1/FusedBatchNormV3", (1, 8, 8, 16), (16, 3, 3, 1), 9_216),
        ("CONV_2D", "small_cnn/conv2/Relu;small_cnn/bn2/FusedBatchNormV3", (1, 4, 4, 32), (32, 3, 3, 16), 73_728),
        ("DEPTHWISE_CONV_2D", "small_cnn/depthwise/depthwise", (1, 4, 4, 32), (1, 3, 3, 32), 4_608),
        ("MEAN", "small_cnn/global_average_pooling2d/Mean", (1, 32), None, None),
        ("FULLY_CONNECTED", "small_cnn/logits/MatMul;small_cnn/logits/BiasAdd", (1, 10), (10, 32), 320),
        ("SOFTMAX", "StatefulPartitionedCall:0", (1, 10), None, None),
    ]
    return tuple(
        LayerFacts(
            index=index,
            op=op,
            name=name,
            shape=shape,
            dtype=dtype,
            scale=0.0235 / (index + 1) if integer else None,
            zero_point=-128 if integer else None,
            weights_shape=weights,
            weights_dtype=dtype if weights else None,
            weights_scales=(1 if op == "FULLY_CONNECTED" else weights[0]) if integer and weights else None,
            sparsity=sparsity if weights and "DEPTHWISE" not in op else None,
            macs=macs,
        )
        for index, (op, name, shape, weights, macs) in enumerate(shapes)
    )


def kernels(rows: tuple[LayerFacts, ...]) -> dict[str, KernelFacts]:
    """The weights of layers in which zeros were counted."""
    found = {}
    for row in rows:
        if row.weights_shape and row.sparsity is not None:
            size = prod(row.weights_shape)
            found[row.name] = KernelFacts(layers=(row.name,), op=row.op, weights=size, zeros=round(row.sparsity * size))
    return found


def classes(counts: tuple[tuple[int, ...], ...]) -> tuple[ClassFacts, ...]:
    """The classes of a confusion matrix."""
    found = []
    for label, row in enumerate(counts):
        right, said = row[label], sum(other[label] for other in counts)
        precision = right / said if said else None
        f1 = 2 * right / (said + sum(row))
        found.append(
            ClassFacts(label=str(label), precision=precision, recall=right / sum(row), f1=f1, support=sum(row))
        )
    return tuple(found)


def paired(lost: int, gained: int, n: int = 360) -> Paired:
    worst = ClassDrop(label="8", examples=36, lost=lost, gained=0, drop=lost / 36) if lost else None
    drop = (lost - gained) / n
    return Paired(
        n=n, lost=lost, gained=gained, mcnemar_p=0.375, drop=drop, low=drop - 0.011, high=drop + 0.014, confidence=0.95,
        worst=worst,
    )  # fmt: skip


def tensor(index: int, layer: str) -> TensorError:
    """The worst three have a histogram."""
    counts = tuple((7 * index + bin) % 5 * 100 for bin in range(48)) if index < 3 else ()
    return TensorError(
        index=index, op="CONV_2D", layer=layer, scale=0.02, sqnr_db=31.4 + index, rmse_over_scale=0.31, cosine=0.999,
        saturated=0.514, mean_abs=0.004, max_abs=0.03, relative=0.016, power=-0.0001,
        edges=tuple(bin / 16 for bin in range(49)) if counts else (), counts=counts, float_counts=counts[::-1],
    )  # fmt: skip


def model(name: str, size: int, accuracy: float, count: int = 10, sparse: float = 0.0, **changes: Any) -> ModelFacts:
    """A verified int8 model, or the float baseline when it is so named."""
    base = name == "float"
    dtype = "float32" if base else "int8"
    scale = {} if base else {"scale": 0.00390625, "zero_point": -128}
    facts = ModelFacts(
        name=name,
        file=f"{name}.tflite",
        sha256=digest(name),
        bytes=size,
        gzip_bytes=int(size * (0.92 - sparse * 0.6)),
        verified=True,
        baseline=base,
        quantization="float32" if base else "int8",
        integer_only=not base,
        ops={"CONV_2D": 2, "DEPTHWISE_CONV_2D": 1, "MEAN": 1, "FULLY_CONNECTED": 1, "SOFTMAX": 1},
        macs=87_872,
        parameters=5_466,
        input=Port(name="image", shape=(1, 8, 8, 1), dtype=dtype, **scale),
        output=Port(name="probabilities", shape=(1, count), dtype=dtype, **scale),
        arena_bytes=None if base else 14_208,
        arena=None if base else ArenaFacts(total=14_208, head=9_000, tail=5_208, smallest=14_336),
        arena_why="TFLM can't run this model: no kernel" if base else "",
        layers=layers(dtype, sparse),
        kernels=kernels(layers(dtype, sparse)),
        examples=360,
        metrics={"accuracy": accuracy, "f1_macro": accuracy - 0.001, "log_loss": 0.0824, "ece": 0.0131},
        missing={"auc_macro": "the split has no example of 3"},
        per_class=classes(confusion(count, 36, 2 if base else 3)),
        paired=None if base else paired(round((0.9806 - accuracy) * 360) + 2, 2),
        drop={} if base else {"accuracy": 0.9806 - accuracy},
        error=None if base else Errors(mean_abs=0.00213, max_abs=0.0703, sqnr_db=31.4, agreement=0.9917),
        latency_ms=Latency(p50=0.0461 if base else 0.0214, p95=0.0233, runs=200),
        confusion=confusion(count, 36, 2 if base else 3),
        runtimes=(
            RuntimeFacts(runtime="xnnpack", examples=360, accuracy=accuracy),
            RuntimeFacts(runtime="tflm", examples=36, unavailable="no kernel"),
        ),
        tensors=() if base else tuple(tensor(index, f"layer {index}") for index in range(4)),
    )
    return facts.model_copy(update=changes)


def curves(start: float, epochs: int) -> dict[str, tuple[float, ...]]:
    left = [start * 0.72**epoch for epoch in range(epochs)]
    return {
        "loss": tuple(0.06 + 2 * value for value in left),
        "accuracy": tuple(0.992 - value * 0.8 for value in left),
        "val_loss": tuple(0.09 + 1.9 * value + 0.01 * (-1) ** index for index, value in enumerate(left)),
        "val_accuracy": tuple(0.981 - value * 0.8 + 0.003 * (-1) ** index for index, value in enumerate(left)),
        "learning_rate": (0.001,) * epochs,
    }


def step(name: str, stage: str, seconds: float, cached: bool = False, **changes: Any) -> StepFacts:
    return StepFacts(name=name, stage=stage, key=digest(name + stage), cached=cached, seconds=seconds, **changes)


def check(name: str, of: str, value: Any, limit: Any, unit: Any, bound: Any = "at most", **changes: Any) -> CheckResult:
    facts: dict[str, Any] = {"status": "pass", **changes}
    return CheckResult(check=name, model=of, value=value, limit=limit, unit=unit, bound=bound, **facts)


def checks(of: str) -> tuple[CheckResult, ...]:
    return (
        check("accuracy", of, 0.0028, 0.01, "points", what="drop of accuracy"),
        check("integer_only", of, "yes", "yes", "text", "is", what="integer-only"),
        check("size", of, 31_949, 65_536, "bytes"),
        check("sparsity", of, 0.602, 0.6, "fraction", "at least", what="zeros in the pruned weights"),
        check("arena", of, 14_336, 32_768, "bytes", why="measured on TFLM 0.dev2026"),
    )


def sample(**changes: Any) -> Report:
    """A run on the handwritten digits: a float baseline, ptq, and the pruned and quantized `small`."""
    skipped = {"layer": "depthwise", "kind": "DepthwiseConv2D", "done": False}
    facts = Report(
        name="digits",
        status="pass",
        environment={
            "python": "3.11.7", "tensorflow": "2.21.0", "tf_keras": "2.21.0", "ai_edge_litert": "2.3.0",
            "tensorflow_model_optimization": "0.8.1", "machine": "x86_64, 2 cores, AVX512 VNNI",
        },
        config={
            "name": "digits", "seed": 7, "target": "cortex-m4", "data": {"source": "digits"},
            "model": {"source": "small_cnn", "filters": 16},
            "stages": [{"stage": "train", "epochs": 20}, {"stage": "prune", "from": "train", "sparsity": 0.6}],
        },
        data=DataFacts(
            fingerprint=digest("data"),
            labels=tuple("0123456789"),
            splits={
                name: Split(examples=examples, sha256=digest(name))
                for name, examples in (("train", 1077), ("validation", 180), ("test", 360), ("calibration", 180))
            },
        ),
        steps=(
            step("train", "train", 9.4, True, curves=curves(0.7, 20), settings={"epochs": 20, "batch": 64}),
            step("float", "convert", 2.1, True, settings={"quantization": "float32"}),
            step("ptq", "convert", 2.6, True, settings={"quantization": "int8", "calibration": {"samples": 200}}),
            step(
                "prune", "prune", 7.75, curves=curves(0.2, 8), settings={"sparsity": 0.6, "epochs": 8},
                layers=(
                    {"layer": "conv1", "kind": "Conv2D", "done": True, "why": ""},
                    {**skipped, "why": "288 weights: too few to be worth their accuracy"},
                ),
            ),
            step(
                "qat", "qat", 12.2, curves=curves(0.1, 4), settings={"preserve": "sparsity", "epochs": 4},
                notes=("Zeros in conv2 fell from 0.60 to 0.58: prune-preserving training doesn't hold 1x1 kernels.",),
            ),
            step("small", "convert", 2.9, settings={"quantization": "int8"}),
            step("verify", "verify", 65.0, settings={"of": ["ptq", "small"], "baseline": "float"}),
        ),
        models=(
            model("float", 96_256, 0.9806),
            model("ptq", 34_120, 0.975),
            model("small", 31_949, 0.9778, sparse=0.602),
        ),
        checks=checks("small"),
    )  # fmt: skip
    return facts.model_copy(update=changes)


def failing() -> Report:
    bad = check("accuracy", "ptq", 0.02, 0.01, "points", what="drop of accuracy", status="fail")
    gone = check("arena", "ptq", None, 32_768, "bytes", status="unavailable", why="tflite-micro is not installed")
    ptq = model("ptq", 34_120, 0.9606, arena_bytes=None, arena=None, arena_why="tflite-micro is not installed")
    models = (sample().models[0], ptq, sample().models[2])
    return sample(status="fail", checks=(bad, *checks("ptq")[1:4], gone, *checks("small")), models=models)


def unverified() -> Report:
    bare: dict[str, Any] = {
        "verified": False, "baseline": False, "quantization": None, "integer_only": None, "ops": {}, "macs": None,
        "parameters": None, "input": None, "output": None, "layers": (), "examples": None, "metrics": {}, "drop": {},
        "error": None, "latency_ms": None, "confusion": (), "arena_bytes": None, "arena": None, "missing": {},
        "per_class": (), "paired": None, "runtimes": (), "tensors": (), "kernels": {},
    }  # fmt: skip
    return sample(models=tuple(m.model_copy(update=bare) for m in sample().models), checks=())


def many_classes(classes: int = 100) -> Report:
    names = tuple(f"class number {number}" for number in range(classes))
    small = model("small", 300_000, 0.70, classes, 0.4, drop={"accuracy": 0.01}, examples=3_600)
    models = (model("float", 9_625_600, 0.71, classes, examples=3_600), small)
    return sample(data=sample().data.model_copy(update={"labels": names}), models=models)


def hostile() -> Report:
    data = DataFacts(fingerprint=EVIL, labels=(EVIL,) * 10, splits={EVIL: Split(examples=1, sha256=EVIL)})
    row = ClassFacts(label=EVIL, precision=None, recall=None, f1=None, support=0)
    lost_most = paired(3, 2).model_copy(update={"worst": ClassDrop(label=EVIL, examples=9, lost=3, gained=0, drop=0.3)})
    said: dict[str, Any] = {"file": EVIL, "missing": {EVIL: EVIL}, "per_class": (row,)}
    evil = [m.model_copy(update={"name": f"{m.name} {EVIL}", **said}) for m in sample().models]
    traced = {"paired": lost_most, "tensors": (tensor(0, EVIL),)}
    evil = [m.model_copy(update={"arena_why": EVIL} if m.baseline else traced) for m in evil]
    steps = (step(EVIL, EVIL, 1.0, curves=curves(0.5, 3), notes=(EVIL,), settings={EVIL: EVIL}),)
    lost = check(EVIL, evil[2].name, EVIL, EVIL, "text", status="fail", why=EVIL)
    found = {"name": EVIL, "environment": {EVIL: EVIL}, "config": {EVIL: EVIL}, "data": data}
    return sample(**found, steps=steps, models=tuple(evil), checks=(lost,), status="fail")


def one_model() -> Report:
    diverged = {"loss": (float("nan"),), "val_loss": (float("nan"),)}
    none: dict[str, Any] = {
        "metrics": {},
        "drop": {},
        "confusion": (),
        "per_class": (),
        "paired": None,
        "missing": {},
        "tensors": (),
    }
    one = model("small", 31_949, 0.9, latency_ms=None, examples=None, **none)
    return sample(models=(one,), checks=checks("small")[:1], steps=(step("train", "train", 0.2, curves=diverged),))


RUNS = [sample, failing, unverified, many_classes, hostile, one_model]


runs = pytest.mark.parametrize("make", RUNS)


def printed(report: Report, width: int = 80, where: str = "", **settings: Any) -> str:
    console = Console(file=io.StringIO(), width=width, **settings)
    table.render(report, console, where)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()
