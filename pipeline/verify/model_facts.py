"""What was measured of a .tflite file, and what a check made of it: the facts that verify, checks and report share.

Fractions are 0..1, sizes bytes, times as named. A figure that was not measured is None, and never a zero.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.data.contract import NONE, Contract
from pipeline.data.tasks.task import TaskName


class Facts(BaseModel):
    """A frozen part of the report."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Port(Facts):
    """An input or output of a .tflite file. scale and zero_point are null when it is not quantized."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None


class LayerFacts(Facts):
    """One op of a .tflite file with its output tensor and, where it has one, its weights."""

    index: int
    subgraph: int = 0
    op: str
    version: int | None = Field(default=None, description="of the op")
    name: str = Field(description="of the output tensor, which carries the Keras layer's name")
    shape: tuple[int, ...] = Field(description="of the output")
    dtype: str = Field(description="of the output")
    scale: float | None = None
    zero_point: int | None = None
    weights_shape: tuple[int, ...] | None = None
    weights_dtype: str | None = None
    weights_scales: int | None = Field(default=None, description="1 is per-tensor, more is per-channel")
    sparsity: float | None = Field(default=None, description="share of zeros in the weights")
    unique_values: int | None = Field(default=None, description="most different stored weights that share a scale")
    macs: int | None = None
    parameters: int | None = None


class Errors(Facts):
    """Output against the Keras model on the same examples, in the output's real units."""

    mean_abs: float
    max_abs: float
    sqnr_db: float | None = Field(description="10 log10(sum(reference^2) / sum(error^2)); null when the error is zero")
    agreement: float | None = Field(
        description="share of examples with the Keras model's decision; null where nothing is decided"
    )


class Latency(Facts):
    """Measured on the machine that ran the pipeline, one image and one thread: host, not device."""

    p50: float
    p95: float
    runs: int
    where: Literal["host"] = "host"


class ClassFacts(Facts):
    """How one class fares over the test split. Null is 0/0: a class that was never predicted, or has no example."""

    label: str
    precision: float | None = Field(description="share of the decisions for this class that are right")
    recall: float | None = Field(description="share of the examples of this class that are found")
    f1: float | None = Field(description="harmonic mean of both")
    support: int = Field(description="examples of this class")


class ClassDrop(Facts):
    """What one class loses against the baseline. drop: lost minus gained, as a share of its examples."""

    label: str
    examples: int
    lost: int
    gained: int
    drop: float


class Paired(Facts):
    """This model against the baseline, on the same test examples one by one; what is of decisions is null without."""

    metric: str = Field(default="accuracy", description="the task's main metric")
    n: int = Field(description="examples")
    lost: int | None = Field(default=None, description="decisions that the baseline gets right and this model wrong")
    gained: int | None = Field(default=None, description="decisions that this model gets right and the baseline wrong")
    mcnemar_p: float | None = Field(
        default=None, description="McNemar's exact two-sided test: how likely chance makes such a difference"
    )
    drop: float = Field(description="of the metric, baseline minus this model; of accuracy it is (lost - gained) / n")
    low: float = Field(description="lower end of the drop's bootstrap interval")
    high: float = Field(description="upper end of the drop's bootstrap interval")
    confidence: float = Field(description="of the interval")
    worst: ClassDrop | None = Field(description="the class that loses most; null when none loses")


class TensorError(Facts):
    """One tensor of a file on real examples, against the same tensor of the float model, in real units.

    e is the difference q - f of the dequantized and the float values over all examples and elements.
    """

    index: int = Field(description="of the op that writes the tensor")
    op: str
    layer: str = Field(description="the Keras layer whose output it is")
    scale: float | None
    sqnr_db: float | None = Field(description="10 log10(sum f^2 / sum e^2); null when there is no error")
    rmse_over_scale: float | None = Field(description="sqrt(mean e^2) / scale: uniform rounding alone gives 0.29")
    cosine: float = Field(description="of the angle between q and f")
    saturated: float | None = Field(description="share of values at either end of the integer range")
    mean_abs: float = Field(description="mean |e|")
    max_abs: float = Field(description="max |e|")
    relative: float = Field(description="sum |e| / sum |f|")
    power: float = Field(description="1 - sum q^2 / sum f^2, the share of the signal's power that is lost")
    edges: tuple[float, ...] = Field(default=(), description="of the histograms' bins; only for the worst tensors")
    counts: tuple[int, ...] = Field(default=(), description="of q")
    float_counts: tuple[int, ...] = Field(default=(), description="of f")


class RuntimeFacts(Facts):
    """The same file on another runtime or other kernels, against LiteRT with XNNPACK on the same examples.

    A file that LiteRT can't run, because its weights are compressed for TFLite Micro, is measured on that alone.

    Counts are of the first `examples` of the test split: where the runtime is slow that is a part of it. All figures
    are None when the file did not run there; `unavailable` then says why.
    """

    runtime: str = Field(description="its name: xnnpack, reference or tflm")
    base: bool = Field(default=False, description="what the others are compared with, and the model's metrics are of")
    examples: int
    accuracy: float | None = None
    score: float | None = Field(default=None, description="the task's main metric: accuracy, mae or auc")
    differ: float | None = Field(default=None, description="share of output values that are not bit-equal")
    max_lsb: int | None = Field(default=None, description="largest difference in steps of the output's scale")
    max_abs: float | None = Field(default=None, description="the same in real units")
    flips: int | None = Field(default=None, description="examples with another decision; null without decisions")
    unavailable: str = ""


class Mistake(Facts):
    """What an app would see that feeds the file in a usual wrong way, against the right way on the same examples."""

    mistake: Literal[
        "not_normalised", "channels_swapped", "planar", "turned", "not_quantized", "floored", "bytes", "minus_128"
    ]
    what: str = Field(description="the mistake in words")
    accuracy: float
    drop: float = Field(description="accuracy of the right way minus this")
    flips: int = Field(description="examples whose decision is another one")
    examples: int = Field(description="spread evenly over the test split")


class OutputError(Facts):
    """One output of a file against the baseline's on the same examples, in real units, over all elements."""

    mean_abs: float
    max_abs: float
    sqnr_db: float | None = Field(description="10 log10(sum(baseline^2) / sum(error^2)); null when the error is zero")
    cosine: float | None = Field(description="of the angle between both; null when one is zero throughout")


class OutputFacts(Facts):
    """One output of a file on examples without labels."""

    name: str = Field(description="in the file's signature")
    runtimes: tuple[RuntimeFacts, ...] = Field(description="its values there; accuracy and flips are null")
    error: OutputError | None = Field(default=None, description="against the baseline's output of the same name")
    error_why: str = Field(default="there is no baseline", description="why error is null")


class Breach(Facts):
    """One place where a .tflite file breaks a rule of the int8 specification; see pipeline.tflite.int8."""

    rule: str = Field(description="R1 to R18")
    severity: Literal["fail", "warn", "info"]
    subgraph: int = 0
    op: str = Field(default="", description='such as "CONV_2D"; empty when it is about the whole graph')
    index: int | None = Field(default=None, description="of the op in its subgraph; null for all ops of that name")
    tensor: str = ""
    layer: str = Field(default="", description="the Keras layer")
    what: str
    received: str
    expected: str

    def __str__(self) -> str:
        place = f"{self.op} #{self.index}" if self.index is not None else self.op or "graph"
        inside = f" of subgraph {self.subgraph}" if self.subgraph else ""
        name = f" ({self.layer or self.tensor})" if self.op and (self.layer or self.tensor) else ""
        return f"{self.rule}: {place}{inside}{name}: {self.what} is {self.received}, should be {self.expected}"


class ArenaFacts(Facts):
    """Bytes of the tensor arena on TensorFlow Lite Micro, as its interpreter reports them after an inference."""

    total: int = Field(description="used: head + tail")
    head: int = Field(description="activations and scratch buffers")
    tail: int = Field(description="what stays: structures of tensors and ops, quantization parameters, variables")
    smallest: int = Field(description="the smallest arena that an inference succeeded in, to within 16 bytes")


class VelaFacts(Facts):
    """What Vela, Arm's compiler for the Ethos-U, makes of the file. Its estimates, not measurements."""

    version: str
    accelerator: str
    system_config: str
    memory_mode: str
    npu_share: float = Field(description="share of the file's ops that are not left to the CPU")
    cpu_ops: tuple[str, ...] = Field(description="ops that are left to the CPU")
    sram_bytes: int
    flash_bytes: int = Field(description="on and off the chip: weights and commands")
    cycles: int | None = Field(description="of one inference on the NPU; null when nothing runs on it")
    inferences_per_second: float | None


class Halves(Facts):
    """How far two disjoint halves of the calibration examples move the file."""

    range: float = Field(description="the largest relative difference of a tensor's scale")
    decisions: float | None = Field(default=None, description="share of validation examples that are decided otherwise")
    accuracy: tuple[float, float] | None = Field(default=None, description="of either half on the validation examples")
    accuracy_spread: float | None = Field(default=None, description="how far those are apart")


class CalibrationFacts(Facts):
    """The examples that the converter observed."""

    samples: int
    sha256: str = Field(description="of the examples in their order, after preprocessing")
    ranges: str = Field(default="minmax", description="how activation ranges follow from the examples")
    halves: Halves | None = Field(default=None, description="null when the config did not ask for it")


class ModelFacts(Facts):
    """One .tflite file. The fields after `verified` are null or empty when no verify stage named the model."""

    name: str
    file: str
    sha256: str
    bytes: int
    gzip_bytes: int
    verified: bool
    calibration: CalibrationFacts | None = Field(
        default=None, description="what the activation ranges come from; null when nothing was calibrated"
    )
    baseline: bool = False
    quantization: str | None = None
    integer_only: bool | None = None
    rules: tuple[Breach, ...] | None = Field(
        default=None, description="what breaks rules R1 to R16 of the int8 specification; null where they don't apply"
    )
    floats: tuple[str, ...] = Field(default=(), description="what is not integer: op, tensor and dtype")
    ops: dict[str, int] = {}
    op_versions: dict[str, int] = Field(default={}, description="the highest version of each op")
    min_runtime_version: str | None = Field(default=None, description="of LiteRT, as the converter noted it")
    op_dtypes: dict[str, tuple[str, ...]] = Field(
        default={}, description="kinds of data of each op: `int8`, or `int8xint4` for input and weights"
    )
    dynamic: tuple[str, ...] = Field(default=(), description="tensors with a dimension that the file leaves open")
    macs: int | None = None
    parameters: int | None = None
    input: Port | None = Field(default=None, description="the one input; null where there are several")
    output: Port | None = Field(default=None, description="the one output; null where there are several")
    inputs: tuple[Port, ...] = Field(default=(), description="all inputs, in the file's order")
    outputs: tuple[Port, ...] = Field(default=(), description="all outputs, in the file's order")
    contract: Contract | None = Field(default=None, description="the preprocessing that the file itself asks for")
    contract_why: str = Field(default=NONE, description="why contract is null")
    answers: tuple[OutputFacts, ...] = Field(default=(), description="each output, on examples without labels")
    arena_bytes: int | None = None
    arena: ArenaFacts | None = None
    arena_why: str = Field(default="not measured", description="why arena is null")
    arena_refused: bool = Field(default=False, description="TensorFlow Lite Micro can't run the file at all")
    vela: VelaFacts | None = None
    vela_why: str = Field(default="not measured: no target or check asks for it", description="why vela is null")
    sparsity: dict[str, float] = Field(default={}, description="share of zeros of each weight tensor")
    pruned: tuple[str, ...] = Field(default=(), description="weight tensors of layers that a prune stage pruned")
    pruned_sparsity: float | None = Field(default=None, description="share of zeros over all pruned weights")
    unique_values: dict[str, int] = Field(
        default={}, description="most different stored values that share a scale, of each weight tensor"
    )
    clustered: tuple[str, ...] = Field(
        default=(), description="weight tensors of the layers that a cluster stage clustered"
    )
    layers: tuple[LayerFacts, ...] = ()
    examples: int | None = Field(default=None, description="of the test split that the metrics were measured on")
    split_sha256: str | None = Field(default=None, description="of that test split")
    task: TaskName | None = Field(default=None, description="that the metrics are of")
    scores: Literal["probabilities", "logits"] | None = Field(default=None, description="what the output was taken for")
    metrics: dict[str, float] = {}
    missing: dict[str, str] = Field(default={}, description="metrics that could not be measured, each with the reason")
    per_class: tuple[ClassFacts, ...] = ()
    paired: Paired | None = Field(default=None, description="against the baseline; null for the baseline itself")
    drop: dict[str, float] = Field(default={}, description="baseline minus this model")
    error: Errors | None = None
    latency_ms: Latency | None = None
    runtimes: tuple[RuntimeFacts, ...] = Field(default=(), description="the same file on other runtimes and kernels")
    mistakes: tuple[Mistake, ...] = Field(
        default=(), description="what the usual mistakes of an app cost; those that this file and data allow"
    )
    tensors: tuple[TensorError, ...] = Field(
        default=(), description="of a quantized file, each tensor against the Keras model's; the worst first"
    )
    confusion: tuple[tuple[int, ...], ...] = Field(default=(), description="rows are true labels, columns predicted")


class CheckResult(Facts):
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
