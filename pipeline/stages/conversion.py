"""Convert a model for a stage `convert`: calibrate, correct biases, and examine the file that results."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import tflite
from pipeline.core.errors import EdgepipeError, Fault, StageError
from pipeline.core.progress import Progress
from pipeline.data import contract
from pipeline.data.source import Data, spread
from pipeline.keras import tf
from pipeline.keras.conversion import bias_correction
from pipeline.keras.conversion.calibration import Calibration, Sample, check_input, draw
from pipeline.keras.conversion.conversion import Conversion
from pipeline.keras.conversion.halves import decided, spread_of
from pipeline.keras.conversion.preparation import prepared
from pipeline.keras.conversion.request import INTEGER, Request
from pipeline.keras.layer_values import layer_values, require_finite
from pipeline.keras.types import KerasModel
from pipeline.stages.sidecar import read_facts, write_facts
from pipeline.stages.stage import TFLITE, Inputs
from pipeline.tflite import metadata
from pipeline.tflite.values import real, stored
from pipeline.verify import int8, setback, tensor_errors
from pipeline.verify.interpreters import litert

PARITY = 32  # examples on which a calibrated file is compared with the Keras model
BATCH = 64  # examples that the Keras model is given at once
LOOKED_AT, NEAR_ONE = 2000, 1e-3  # training examples; error of a stored 1 that is not told


def convert(
    request: Request, calibration: Calibration | None, correct: bool, warn_drop: float, inputs: Inputs, work: Path
) -> None:
    """Write the requested file, its notes and its facts into the empty directory `work`.

    calibration  settings of the calibration examples; None for the defaults
    correct      whether to correct the biases
    warn_drop    loss against the Keras model from which on there is a note, a share
    """
    tf.start(inputs.seed)
    model = tf.load_model(inputs.source.keras)
    require_finite(model, inputs.data)
    above = read_facts(inputs.source.path)
    aware = bool(above.get("quantized"))
    sample = draw(inputs.data, calibration, inputs.seed) if request.quantization in INTEGER else None
    taken = prepared(model, request, aware, above.get("origin", {}), sample.x if sample else None)
    conversion = Conversion(request, taken.model, inputs.data.spec().shape, taken.origin, inputs.report)
    content, calibrated = _converted(conversion, sample, taken.aware)
    rows: list[dict[str, Any]] = []
    notes = list(taken.notes)
    if correct and sample is not None:
        content, rows = _corrected(conversion, content, sample.x)
        notes.append(bias_correction.note(rows))
    content = metadata.embedded(content, contract.NAME, inputs.data.contract().encoded())
    notes += conversion.kept(content)
    used: dict[str, Any] | None = None
    if sample is not None:
        if request.estimator == "minmax":
            check_input(content, sample)
        notes += (*_remaining(conversion.floats(content)), *breaches(content))
        if aware and calibrated:
            notes.append(_parity(content, model, sample))
        if calibrated:
            used = {"samples": len(sample.x), "sha256": sample.sha256, "ranges": request.estimator}
            if calibration and calibration.halves:
                used["halves"] = spread = _halves(conversion, sample, inputs.data, correct)
                notes.append(spread_of(spread))
    (work / TFLITE).write_bytes(content)
    warnings = [*_inexact(content, inputs.data)]
    if request.quantization != "float32":
        warnings += _lost(work / TFLITE, model, inputs.data, warn_drop)
    for text in warnings:  # at once, and not only in the report
        inputs.report(Progress("comparison with the Keras model", 1, 1, note=text))
    notes += warnings
    write_facts(work, layers=rows, notes=notes, calibration=used)


def _converted(conversion: Conversion, sample: Sample | None, aware: bool) -> tuple[bytes, bool]:
    """The file's bytes, and whether calibration was used for them.

    aware: whether the model comes from quantization-aware training, and so has learnt its ranges.
    """
    if aware:
        content = conversion.content(None)
        floats = conversion.floats(content)
        if not floats:
            return content, False
        if conversion.asked.keep_float:
            rule = "keep_float: after qat, takes a model whose other layers are all trained quantization-aware"
            raise StageError(Fault(rule, received=str(floats[0]), do="convert the stage before qat instead"))
    return conversion.content(sample.x if sample else None), sample is not None


def _corrected(conversion: Conversion, content: bytes, x: NDArray[np.float32]) -> tuple[bytes, list[dict[str, Any]]]:
    """The file with its biases corrected on examples x (n, ...), and a report row for each op with weights."""
    plain: bytes = conversion.converter().convert()
    return bias_correction.corrected(content, plain, x, conversion.report)


def _halves(conversion: Conversion, sample: Sample, data: Data, corrected: bool) -> dict[str, Any]:
    """How much two files differ that are calibrated on disjoint halves of the examples: the effect of the random draw.

    range is the largest relative difference of a tensor's scale. For classifiers, decisions is the share of validation
    examples that the two files classify differently, and accuracy that of each file on them, a fraction.
    """
    quiet = replace(conversion, report=lambda progress: None)
    halves = (sample.x[0::2], sample.x[1::2])
    files = [quiet.content(half) for half in halves]
    if corrected:
        files = [_corrected(quiet, file, half)[0] for file, half in zip(files, halves, strict=True)]
    scales = [np.array([t.scale for t in tflite.read(file).subgraphs[0].tensors if t.scale]) for file in files]
    return {
        "range": float(np.max(np.abs(scales[0] / scales[1] - 1))) if len(scales[0]) == len(scales[1]) else 1.0,
        **decided(files, data.split("validation"), data.spec()),
    }


def _remaining(floats: Sequence[tflite.FloatUse]) -> Iterator[str]:
    """A note on the tensors that are not integer, if there are any."""
    if floats:
        yield f"{len(floats)} tensors are not integer: {'; '.join(map(str, floats[:5]))}"


def _parity(content: bytes, model: KerasModel, sample: Sample) -> str:
    """A note on how close a calibrated file is to the Keras model from quantization-aware training."""
    x = sample.x[:PARITY]
    step = tflite.read(content).outputs[0].scale or 1.0
    error = np.abs(litert.run(content, x) - np.asarray(model(x, training=False), np.float32)) / step
    return (
        f"floats remained after qat, so {len(sample.x)} examples calibrated them; outputs differ from the Keras "
        f"model's by {error.max():.1f} steps at most and {error.mean():.2f} on average"
    )


def breaches(content: bytes) -> Iterator[str]:
    """Notes on violations of the int8 specification. Raises StageError for rules that kernels rely on."""
    found = [finding for finding in int8.breaches(tflite.read(content)) or () if finding.severity == "fail"]
    if wrong := [finding for finding in found if finding.rule in int8.COUNTED_ON]:
        rule = "the converter made a file that does not run or computes wrong numbers, by the int8 specification"
        do = "convert to another quantization, or replace the layers that these ops are of"
        raise StageError(*(Fault(rule, received=str(finding), do=do) for finding in wrong[:3]))
    others = [finding for finding in found if finding.rule != "R1"]  # `_remaining` notes these
    yield from (f"breaks the int8 specification: {finding}" for finding in others[:3])


def _inexact(content: bytes, data: Data) -> Iterator[str]:
    """A note on values that are 0 or 1 in all training examples, where the input's steps do not store 1 exactly."""
    (tensor,) = tflite.read(content).inputs
    if tensor.scale is None:
        return
    train = data.split("train")
    x, _ = train.batch(spread(len(train), LOOKED_AT))
    flags = ((x == 0) | (x == 1)).all(axis=0) & (x == 1).any(axis=0)
    one = float(real(stored(np.ones(1, np.float32), tensor), tensor)[0])
    if flags.any() and abs(one - 1) > NEAR_ONE:
        yield (
            f"{np.sum(flags)} of {flags.size} input values are 0 or 1 in training examples, and the input's steps of "
            f"{tensor.scale:.4g} store 1 as {one:.4g}: bring all values to a common range"
        )


def _lost(path: Path, model: KerasModel, data: Data, warn_drop: float) -> Iterator[str]:
    """A note if the file is more than `warn_drop` below the Keras model on validation examples."""
    file, validation, spec = tflite.read(path), data.split("validation"), data.spec()
    x, y = validation.batch(spread(len(validation), setback.sample(file, len(validation))))
    outputs = [np.asarray(model(x[i : i + BATCH], training=False), np.float32) for i in range(0, len(x), BATCH)]
    try:
        found = setback.measure(path, x, y, np.concatenate(outputs), spec)
    except EdgepipeError as error:
        yield f"what the file loses is not known: {error.faults[0].rule} ({error.faults[0].received})"
        return
    if found is None or found.lost <= warn_drop:
        return
    traced = x[: tensor_errors.TRACED]
    errors = tensor_errors.errors(path, traced, layer_values(model, traced), floats=True, nearest=-np.inf)
    yield setback.told(found, spec.task.decides, setback.first_far(errors))
