"""Data classes for what was measured of a .tflite file and for check results; verify, checks and report share them.

Fractions are 0..1, sizes are in bytes, times in the unit in their name. What was not measured is None, never 0.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.data.contract import NONE, Contract
from pipeline.data.tasks.task import TaskName


class Facts(BaseModel):
    """Base class of all parts of the report. Instances are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True, ser_json_inf_nan="strings")


class Port(Facts):
    """An input or output tensor of a .tflite file. scale and zero_point are null when it is not quantized."""

    name: str = Field(description="name of the tensor")
    shape: tuple[int, ...] = Field(description="shape, batch dimension included")
    dtype: str = Field(description="data type of the tensor")
    scale: float | None = Field(default=None, description="quantization scale: real = scale * (stored - zero_point)")
    zero_point: int | None = Field(default=None, description="the stored value that stands for 0")


class LayerFacts(Facts):
    """One op of a .tflite file, with its output tensor and, if it has any, its weights."""

    index: int = Field(description="index of the op in its subgraph")
    subgraph: int = Field(default=0, description="index of the subgraph")
    op: str = Field(description='name of the op, such as "CONV_2D"')
    version: int | None = Field(default=None, description="version of the op")
    name: str = Field(description="name of the output tensor, which contains the Keras layer's name")
    shape: tuple[int, ...] = Field(description="shape of the output")
    dtype: str = Field(description="data type of the output")
    scale: float | None = Field(
        default=None, description="quantization scale of the output; null when it is not quantized"
    )
    zero_point: int | None = Field(default=None, description="zero point of the output")
    weights_shape: tuple[int, ...] | None = Field(default=None, description="shape of the weights")
    weights_dtype: str | None = Field(default=None, description="data type of the weights")
    weights_scales: int | None = Field(
        default=None, description="number of scales of the weights: 1 is per-tensor, more is per-channel"
    )
    sparsity: float | None = Field(default=None, description="share of zeros among the weights")
    unique_values: int | None = Field(default=None, description="largest number of different stored weights per scale")
    macs: int | None = Field(default=None, description="multiply-accumulates of one inference; null for a custom op")
    parameters: int | None = Field(
        default=None, description="number of weights, biases and other trained constants that the op reads"
    )


class KernelFacts(Facts):
    """One weight tensor of a .tflite file: a kernel of a layer, or a part of one, such as a gate's of an LSTM."""

    layers: tuple[str, ...] = Field(description="names of its Keras layers, as for `layers_known`; empty if unknown")
    op: str = Field(description="name of the first op that reads it")
    weights: int = Field(description="number of weights")
    zeros: int = Field(description="number of weights that are zero")


class Errors(Facts):
    """Difference between the file's output and the Keras model's on the same examples, in real units."""

    mean_abs: float = Field(description="mean absolute difference")
    max_abs: float = Field(description="largest absolute difference")
    sqnr_db: float | None = Field(description="10 log10(sum(reference^2) / sum(error^2)); null when the error is zero")
    agreement: float | None = Field(
        description="share of examples with the same decision as the Keras model; null for a task without decisions"
    )
    runtimes: dict[str, float] = Field(
        default={}, description="agreement on each other runtime, for the examples that it was given"
    )


class Latency(Facts):
    """Milliseconds of one inference of one example on one thread, on the machine that ran the pipeline (the host)."""

    p50: float = Field(description="median")
    p95: float = Field(description="95th percentile")
    runs: int = Field(description="number of inferences that were measured")
    where: Literal["host"] = Field(default="host", description="always the machine that ran the pipeline")


class ClassFacts(Facts):
    """Metrics of one class on the test split. Null stands for 0/0: the class was never predicted, or has no example."""

    label: str = Field(description="name of the class")
    precision: float | None = Field(description="share of the decisions for this class that are right")
    recall: float | None = Field(description="share of the examples of this class that are found")
    f1: float | None = Field(description="harmonic mean of precision and recall")
    support: int = Field(description="number of examples of this class")


class ClassDrop(Facts):
    """Decisions of one class that differ from the baseline's. drop is (lost - gained) / examples."""

    label: str = Field(description="name of the class")
    examples: int = Field(description="number of examples of this class")
    lost: int = Field(description="decisions that the baseline gets right and this model wrong")
    gained: int = Field(description="decisions that this model gets right and the baseline wrong")
    drop: float = Field(description="(lost - gained) / examples")


class Paired(Facts):
    """Paired comparison of this model with the baseline on the same test examples.

    lost, gained, mcnemar_p and worst are null for a task without decisions.
    """

    metric: str = Field(default="accuracy", description="the task's main metric")
    n: int = Field(description="number of examples")
    lost: int | None = Field(default=None, description="decisions that the baseline gets right and this model wrong")
    gained: int | None = Field(default=None, description="decisions that this model gets right and the baseline wrong")
    mcnemar_p: float | None = Field(default=None, description="p-value of McNemar's exact two-sided test")
    drop: float = Field(description="metric of the baseline minus this model's; for accuracy (lost - gained) / n")
    low: float = Field(description="lower end of the drop's bootstrap interval")
    high: float = Field(description="upper end of the drop's bootstrap interval")
    confidence: float = Field(description="confidence level of the interval")
    worst: ClassDrop | None = Field(description="the class with the largest drop; null when no class drops")


class TensorError(Facts):
    """Error of one tensor against the same tensor of the float model on real examples, in real units.

    q are the dequantized values, f the float model's values, and e = q - f, over all examples and elements.
    """

    index: int = Field(description="index of the op that writes the tensor")
    op: str = Field(description='name of the op that writes the tensor, such as "CONV_2D"')
    layer: str = Field(description="the Keras layer whose output the tensor is")
    scale: float | None = Field(description="quantization scale of the tensor")
    sqnr_db: float | None = Field(description="10 log10(sum f^2 / sum e^2); null when there is no error")
    rmse_over_scale: float | None = Field(description="sqrt(mean e^2) / scale: uniform rounding alone gives 0.29")
    cosine: float = Field(description="cosine similarity of q and f")
    saturated: float | None = Field(description="share of values at either end of the integer type's range")
    mean_abs: float = Field(description="mean |e|")
    max_abs: float = Field(description="max |e|")
    relative: float = Field(description="sum |e| / sum |f|")
    power: float = Field(description="1 - sum q^2 / sum f^2, the share of the signal's power that is lost")
    edges: tuple[float, ...] = Field(default=(), description="bin edges of the histograms; only for the worst tensors")
    counts: tuple[int, ...] = Field(default=(), description="histogram of q")
    float_counts: tuple[int, ...] = Field(default=(), description="histogram of f")


class RuntimeFacts(Facts):
    """The file on one runtime or set of kernels, compared with LiteRT and XNNPACK on the same examples.

    A file whose weights are compressed for TFLite Micro, which LiteRT can't run, is measured on TFLite Micro alone.

    Counts are for the first `examples` examples of the test split; a slow runtime gets only a part of it. All figures
    are null when the file did not run on this runtime; `unavailable` then gives the reason.
    """

    runtime: str = Field(description="name of the runtime: xnnpack, reference or tflm")
    base: bool = Field(
        default=False, description="whether the other runtimes are compared with this one; the metrics come from it"
    )
    examples: int = Field(description="number of examples that were run")
    accuracy: float | None = Field(default=None, description="share of right decisions")
    score: float | None = Field(default=None, description="the task's main metric: accuracy, mae or auc")
    differ: float | None = Field(default=None, description="share of output values that are not bit-equal")
    max_lsb: int | None = Field(default=None, description="largest difference, in steps of the output's scale")
    max_abs: float | None = Field(default=None, description="largest difference in real units")
    flips: int | None = Field(default=None, description="examples with a different decision; null without decisions")
    unavailable: str = Field(default="", description="why the file did not run there; empty when it did")
    not_finite: str = Field(
        default="", description="for how many examples it gives NaN or infinity, and what does first; empty for none"
    )
    metrics: dict[str, float] = Field(
        default={}, description="all metrics on these examples; empty when it did not run"
    )
    drop: dict[str, float] = Field(default={}, description="the baseline's metrics, from its base runtime, minus these")
    paired: Paired | None = Field(default=None, description="against the baseline on these examples, one by one")


class Mistake(Facts):
    """Cost of a common app-side input mistake, against correct input on the same examples."""

    mistake: Literal[
        "not_normalised",
        "channels_swapped",
        "planar",
        "turned",
        "not_quantized",
        "floored",
        "bytes",
        "minus_128",
        "ids_cut",
        "ids_shifted",
        "padded_in_front",
    ] = Field(description="short name of the mistake")
    what: str = Field(description="the mistake in words")
    accuracy: float = Field(description="accuracy with the mistake")
    drop: float = Field(description="accuracy with correct input minus this accuracy")
    flips: int = Field(description="examples whose decision changes")
    examples: int = Field(description="number of examples, spread evenly over the test split")


class OutputError(Facts):
    """Difference between one output of a file and the baseline's on the same examples, in real units."""

    mean_abs: float = Field(description="mean absolute difference")
    max_abs: float = Field(description="largest absolute difference")
    sqnr_db: float | None = Field(description="10 log10(sum(baseline^2) / sum(error^2)); null when the error is zero")
    cosine: float | None = Field(description="cosine similarity of both; null when either is all zero")


class OutputFacts(Facts):
    """One output of a file, measured on examples without labels."""

    name: str = Field(description="name of the output in the file's signature")
    runtimes: tuple[RuntimeFacts, ...] = Field(description="comparison of the runtimes; accuracy and flips are null")
    error: OutputError | None = Field(default=None, description="error against the baseline's output of the same name")
    error_why: str = Field(default="there is no baseline", description="why error is null")


class Breach(Facts):
    """One place where a .tflite file breaks a rule of the int8 specification; see `pipeline.verify.int8`."""

    rule: str = Field(description="id of the rule, R1 to R18")
    severity: Literal["fail", "warn", "info"] = Field(
        description="how serious it is; `fail` alone fails the check, unless warnings are not allowed"
    )
    subgraph: int = Field(default=0, description="index of the subgraph")
    op: str = Field(default="", description='name of the op, such as "CONV_2D"; empty for the whole graph')
    index: int | None = Field(
        default=None, description="index of the op in its subgraph; null for all ops of that name"
    )
    tensor: str = Field(default="", description="name of the tensor; empty when the breach is of no tensor")
    layer: str = Field(default="", description="the Keras layer")
    what: str = Field(description="what was looked at")
    received: str = Field(description="what the file has")
    expected: str = Field(description="what the rule asks for")

    def __str__(self) -> str:
        place = f"{self.op} #{self.index}" if self.index is not None else self.op or "graph"
        inside = f" of subgraph {self.subgraph}" if self.subgraph else ""
        name = f" ({self.layer or self.tensor})" if self.op and (self.layer or self.tensor) else ""
        return f"{self.rule}: {place}{inside}{name}: {self.what} is {self.received}, should be {self.expected}"


class ArenaFacts(Facts):
    """Bytes of the tensor arena on TensorFlow Lite Micro, as its interpreter reports them after an inference."""

    total: int = Field(description="bytes used: head + tail")
    head: int = Field(description="activations and scratch buffers")
    tail: int = Field(description="persistent data: tensor and op structures, quantization parameters, variables")
    smallest: int = Field(description="size of the smallest arena in which an inference succeeded, within 16 bytes")
    shapes: tuple[tuple[int, ...], ...] = Field(
        default=(),
        description="only for a file of open shape: the shapes of the inputs, those of the data where there is any",
    )


class VelaFacts(Facts):
    """Estimates of Vela, Arm's compiler for the Ethos-U. They are not measurements."""

    version: str = Field(description="version of Vela")
    accelerator: str = Field(description="the NPU that was compiled for")
    system_config: str = Field(description="name of the clocks and memories in Vela's configuration file")
    memory_mode: str = Field(description="name of the memory mode in Vela's configuration file")
    npu_share: float = Field(description="share of the file's ops that run on the NPU")
    cpu_ops: tuple[str, ...] = Field(description="names of the ops that run on the CPU")
    sram_bytes: int = Field(description="SRAM that is used")
    flash_bytes: int = Field(description="on-chip and off-chip flash, for weights and NPU commands")
    cycles: int | None = Field(description="NPU cycles of one inference; null when nothing runs on the NPU")
    inferences_per_second: float | None = Field(description="Vela's estimate")


class Halves(Facts):
    """How much the file depends on the calibration examples: it is converted with two disjoint halves of them."""

    range: float = Field(description="largest relative difference between the scales of a tensor")
    decisions: float | None = Field(default=None, description="share of validation examples with different decisions")
    accuracy: tuple[float, float] | None = Field(
        default=None, description="accuracy of either half on the validation examples"
    )
    accuracy_spread: float | None = Field(default=None, description="difference between the two accuracies")


class CalibrationFacts(Facts):
    """The calibration examples, from which the converter took the activation ranges."""

    samples: int = Field(description="number of examples")
    sha256: str = Field(description="sha256 of the examples in their order, after preprocessing")
    ranges: str = Field(default="minmax", description="method that computes activation ranges from the examples")
    halves: Halves | None = Field(default=None, description="null when the config did not ask for it")


class ModelFacts(Facts):
    """Facts of one .tflite file. The fields after `verified` are null or empty when no verify stage lists the model."""

    name: str = Field(description="name of the stage that made the file, or the file's own")
    file: str = Field(description="name of the file")
    sha256: str = Field(description="sha256 of the file")
    bytes: int = Field(description="size of the file")
    gzip_bytes: int = Field(description="size of the file after gzip")
    verified: bool = Field(description="whether a verify stage or command measured the file")
    calibration: CalibrationFacts | None = Field(
        default=None, description="source of the activation ranges; null when nothing was calibrated"
    )
    baseline: bool = Field(default=False, description="whether the others are compared with this one")
    quantization: str | None = Field(
        default=None, description="float32, float16, weight_only, dynamic, int8, int8x4, int16x8, uint8, mixed or none"
    )
    integer_only: bool | None = Field(default=None, description="whether no op reads or writes floating-point data")
    rules: tuple[Breach, ...] | None = Field(
        default=None, description="breaches of rules R1 to R16 of the int8 specification; null where they don't apply"
    )
    floats: tuple[str, ...] = Field(default=(), description="floating-point tensors: op, tensor and data type")
    ops: dict[str, int] = Field(default={}, description="count of each op")
    op_versions: dict[str, int] = Field(default={}, description="the highest version of each op")
    min_runtime_version: str | None = Field(
        default=None, description="minimum LiteRT version that the converter recorded"
    )
    op_dtypes: dict[str, tuple[str, ...]] = Field(
        default={}, description="data types of each op: `int8`, or `int8xint4` for input and weights"
    )
    dynamic: tuple[str, ...] = Field(default=(), description="tensors with a dynamic dimension")
    macs: int | None = Field(default=None, description="multiply-accumulates of one inference")
    parameters: int | None = Field(default=None, description="number of weights, biases and other trained constants")
    input: Port | None = Field(default=None, description="the only input; null when there are several")
    output: Port | None = Field(default=None, description="the only output; null when there are several")
    inputs: tuple[Port, ...] = Field(default=(), description="all inputs, in the file's order")
    outputs: tuple[Port, ...] = Field(default=(), description="all outputs, in the file's order")
    contract: Contract | None = Field(default=None, description="preprocessing contract in the file's metadata")
    contract_why: str = Field(default=NONE, description="why contract is null")
    notes: tuple[str, ...] = Field(
        default=(), description="sentences that the user should read about how the file was measured"
    )
    answers: tuple[OutputFacts, ...] = Field(default=(), description="each output, measured on examples without labels")
    arena_bytes: int | None = Field(default=None, description="`total` of arena")
    arena: ArenaFacts | None = Field(default=None, description="use of the arena on TensorFlow Lite Micro")
    arena_why: str = Field(default="not measured", description="why arena is null")
    arena_refused: bool = Field(default=False, description="whether TensorFlow Lite Micro can't run the file")
    vela: VelaFacts | None = Field(default=None, description="result of compiling the file for an Ethos-U")
    vela_why: str = Field(default="not measured: no target or check asks for it", description="why vela is null")
    layers_known: bool | None = Field(
        default=None, description="whether the file says which Keras layers its ops are of; if not, names are guessed"
    )
    kernels: dict[str, KernelFacts] = Field(default={}, description="every weight tensor, by name")
    sparsity: dict[str, float] = Field(default={}, description="share of zeros in each weight tensor")
    pruned: tuple[str, ...] = Field(default=(), description="weight tensors that a prune stage pruned")
    pruned_sparsity: float | None = Field(default=None, description="share of zeros among all pruned weights")
    pruned_why: str = Field(
        default="no prune stage stands before this model", description="why pruned_sparsity is null"
    )
    unique_values: dict[str, int] = Field(
        default={}, description="largest number of different stored values per scale, for each weight tensor"
    )
    clustered: tuple[str, ...] = Field(default=(), description="weight tensors that a cluster stage clustered")
    clustered_why: str = Field(
        default="no cluster stage stands before this model", description="why clustered is empty"
    )
    layers: tuple[LayerFacts, ...] = Field(default=(), description="every op of the file")
    examples: int | None = Field(default=None, description="number of test examples that the metrics were measured on")
    split_sha256: str | None = Field(default=None, description="sha256 of that test split")
    task: TaskName | None = Field(default=None, description="the task that the metrics belong to")
    scores: Literal["probabilities", "logits"] | None = Field(
        default=None, description="how the output was interpreted"
    )
    metrics: dict[str, float] = Field(default={}, description="each metric of the task on the test split")
    missing: dict[str, str] = Field(default={}, description="reason for each metric that could not be measured")
    per_class: tuple[ClassFacts, ...] = Field(
        default=(), description="metrics of each class; empty for a task without classes"
    )
    paired: Paired | None = Field(default=None, description="comparison with the baseline; null for the baseline")
    drop: dict[str, float] = Field(default={}, description="each metric of the baseline minus this model's")
    error: Errors | None = Field(default=None, description="difference to the Keras model that the file was made from")
    latency_ms: Latency | None = Field(default=None, description="time of one inference on the host")
    runtimes: tuple[RuntimeFacts, ...] = Field(default=(), description="the same file on other runtimes and kernels")
    mistakes: tuple[Mistake, ...] = Field(
        default=(), description="cost of common app-side input mistakes that this file and data allow"
    )
    tensors: tuple[TensorError, ...] = Field(
        default=(), description="quantized files only: error of each tensor against the Keras model, worst first"
    )
    confusion: tuple[tuple[int, ...], ...] = Field(
        default=(), description="confusion matrix: rows are true labels, columns predicted"
    )


class CheckResult(Facts):
    """Result of a check. When the status is `unavailable`, value is null and `why` gives the reason."""

    check: str = Field(description="kind of the check")
    model: str = Field(description="name of the model that was checked")
    status: Literal["pass", "fail", "unavailable"] = Field(description="result of the check")
    what: str = Field(default="", description="name of the measured quantity, such as `drop of accuracy`")
    value: float | str | None = Field(default=None, description="the measured value")
    bound: Literal["at least", "at most", "is"] = Field(
        default="is", description="how the value is compared with the limit"
    )
    limit: float | str | None = Field(default=None, description="the value that the check asks for")
    unit: Literal["fraction", "points", "bytes", "ms", "count", "text"] = Field(
        default="text", description="unit of value and limit; `points` are fractions too, shown as percentage points"
    )
    why: str = Field(default="", description="reason or detail, in words")
    interval: tuple[float, float] | None = Field(
        default=None,
        description="ends of the interval in which the value lies over all examples of the same kind, with 95 % "
        "confidence; null where none is known",
    )
    runtime: str | None = Field(
        default=None, description="the runtime that a figure of the outputs was measured on; null for other figures"
    )
