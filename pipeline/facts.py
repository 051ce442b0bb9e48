"""What was measured of a .tflite file, and what a check made of it: the facts that verify, checks and report share.

Fractions are 0..1, sizes bytes, times as named. A figure that was not measured is None, and never a zero.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Part(BaseModel):
    """A frozen part of the report."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Port(Part):
    """An input or output of a .tflite file. scale and zero_point are null when it is not quantized."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None


class LayerFacts(Part):
    """One op of a .tflite file with its output tensor and, where it has one, its weights."""

    index: int
    op: str
    name: str = Field(description="of the output tensor, which carries the Keras layer's name")
    shape: tuple[int, ...] = Field(description="of the output")
    dtype: str = Field(description="of the output")
    scale: float | None = None
    zero_point: int | None = None
    weights_shape: tuple[int, ...] | None = None
    weights_dtype: str | None = None
    weights_scales: int | None = Field(default=None, description="1 is per-tensor, more is per-channel")
    sparsity: float | None = Field(default=None, description="share of zeros in the weights")
    macs: int | None = None
    parameters: int | None = None


class Errors(Part):
    """Output against the Keras model on the same examples, in the output's real units."""

    mean_abs: float
    max_abs: float
    sqnr_db: float | None = Field(description="10 log10(sum(reference^2) / sum(error^2)); null when the error is zero")
    agreement: float = Field(description="share of examples with the Keras model's decision")


class Latency(Part):
    """Measured on the machine that ran the pipeline, one image and one thread: host, not device."""

    p50: float
    p95: float
    runs: int
    where: Literal["host"] = "host"


class ModelFacts(Part):
    """One .tflite file. The fields after `verified` are null or empty when no verify stage named the model."""

    name: str
    file: str
    sha256: str
    bytes: int
    gzip_bytes: int
    verified: bool
    baseline: bool = False
    quantization: str | None = None
    integer_only: bool | None = None
    floats: tuple[str, ...] = Field(default=(), description="what is not integer: op, tensor and dtype")
    ops: dict[str, int] = {}
    macs: int | None = None
    parameters: int | None = None
    input: Port | None = None
    output: Port | None = None
    arena_bytes: int | None = None
    sparsity: dict[str, float] = Field(default={}, description="share of zeros of each weight tensor")
    pruned: tuple[str, ...] = Field(default=(), description="weight tensors of layers that a prune stage pruned")
    pruned_sparsity: float | None = Field(default=None, description="share of zeros over all pruned weights")
    layers: tuple[LayerFacts, ...] = ()
    examples: int | None = Field(default=None, description="of the test split that the metrics were measured on")
    metrics: dict[str, float] = {}
    drop: dict[str, float] = Field(default={}, description="baseline minus this model")
    error: Errors | None = None
    latency_ms: Latency | None = None
    confusion: tuple[tuple[int, ...], ...] = Field(default=(), description="rows are true labels, columns predicted")


class CheckResult(Part):
    """What a check found. `unavailable` says in `why` why it could not be measured; value is then null."""

    check: str
    model: str
    status: Literal["pass", "fail", "unavailable"]
    what: str = Field(default="", description="the measured quantity in words, such as `drop of accuracy`")
    value: float | str | None = None
    bound: Literal["at least", "at most", "is"] = "is"
    limit: float | str | None = None
    unit: Literal["fraction", "points", "bytes", "ms", "count", "text"] = "text"
    why: str = ""
