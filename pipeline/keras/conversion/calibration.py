"""The representative dataset: drawn by seed, and examined before anything is learnt from it.

Every one of these mistakes converts without a word and gives a file that is wrong: noise, a single class, images that
missed the preprocessing, test images.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from pipeline import tflite
from pipeline.core.errors import Fault, InputError, StageError
from pipeline.core.hashing import array_sha256, example_digest
from pipeline.core.settings import Settings
from pipeline.data.source import Data, Examples, spread
from pipeline.keras.conversion.estimators import Estimator

SAMPLES = 200  # when the config names no number
KEPT = 0.9999  # share of the values that a percentile keeps, when the config names none
SPAN = (0.5, 4.0)  # of calibration's range over training's; un-normalised images are 255 times wider
NOISE = 0.1  # correlation of neighbouring values below which examples look like noise
SIGNAL = 0.3  # and of the training examples above which that is a finding


class Calibration(Settings):
    """The representative dataset, drawn by seed from the calibration split."""

    samples: PositiveInt | None = None
    """Examples that the converter observes; 200, or all of the split when it has fewer, when left out."""
    ranges: Estimator = "minmax"
    """How int8 ranges follow from what is observed. `minmax` cuts nothing off; `percentile`, `mse` and `kl` cut off
    outliers for finer steps; `moving_average` averages the ends of batches of examples."""
    percentile: Annotated[float, Field(gt=0.5, lt=1)] = KEPT
    """Share of the values that a range holds, where ranges is percentile."""
    draw: PositiveInt = 1
    """Another number draws other examples."""
    halves: bool = False
    """Convert with each half of the examples too, and report how far ranges, decisions and accuracy move."""


@dataclass(frozen=True)
class Sample:
    """What the converter observes: examples (n, ...) float32 and the range of the training examples."""

    x: NDArray[np.float32]
    low: float
    high: float

    @property
    def sha256(self) -> str:
        return array_sha256(self.x)


def draw(data: Data, settings: Calibration | None, seed: int) -> Sample:
    """The examples, drawn and examined; InputError with every finding that makes them unfit."""
    split = data.split("calibration")
    asked = settings.samples if settings else None
    count = asked or min(len(split), SAMPLES)
    if len(split) < count:
        received = f"{len(split)} in the calibration split"
        do = "ask for fewer, or raise data.splits.calibration"
        raise InputError(Fault(f"calibration.samples asks for {count} examples", received=received, do=do))
    more = [settings.draw] if settings and settings.draw > 1 else []
    chosen = np.random.default_rng([seed, 0xCA11B, *more]).permutation(len(split))[:count]
    x, y = split.batch(np.sort(chosen))
    train, labels = data.split("train").batch(spread(len(data.split("train")), 2000))
    one_class = _one_class(y, labels) if data.spec().task.decides else ()
    faults = [*_unfit(x, train), *one_class, *_seen(x, data.split("test"))]
    if faults:
        raise InputError(*faults)
    return Sample(x, float(train.min()), float(train.max()))


def check_input(content: bytes, sample: Sample) -> None:
    """StageError when the range of a quantized input in the file does not fit the training examples."""
    (tensor,) = tflite.read(content).inputs
    if tensor.scale is None or tensor.zero_point is None:
        return
    limits = np.iinfo(tensor.dtype.lower())
    low, high = (tensor.scale * (limit - tensor.zero_point) for limit in (limits.min, limits.max))
    ratio = (high - low) / max(sample.high - sample.low, 1e-12)
    if (
        tensor.dtype != "INT16" and not SPAN[0] <= ratio <= SPAN[1]
    ):  # int16 is symmetric around zero, and so twice as wide
        rule = f"the input's quantized range must fit the training examples, {sample.low:.4g} to {sample.high:.4g}"
        raise StageError(Fault(rule, received=f"{low:.4g} to {high:.4g}"))


def _unfit(x: NDArray[np.float32], train: NDArray[np.float32]) -> Iterator[Fault]:
    if not np.isfinite(x).all():
        yield Fault("calibration examples must be finite", received="NaN or infinity")
        return
    if len(x) > 1 and (x == x[0]).all():
        yield Fault("calibration examples must differ", received=f"{len(x)} equal ones")
        return
    ratio = float(np.ptp(x)) / max(float(np.ptp(train)), 1e-12)
    if not SPAN[0] <= ratio <= SPAN[1]:
        yield Fault(
            f"calibration examples must span the training examples' range, {train.min():.4g} to {train.max():.4g}",
            received=f"{x.min():.4g} to {x.max():.4g}",
            do="put both through the same preprocessing",
        )
    elif _smoothness(x) < NOISE and _smoothness(train) > SIGNAL:
        yield Fault(
            "calibration examples look like noise: neighbouring values must go together as in training",
            received=f"a correlation of {_smoothness(x):.2f}, and {_smoothness(train):.2f} in training",
        )


def _smoothness(x: NDArray[np.float32]) -> float:
    """Correlation of values that are neighbours along the first axis of an example that has any."""
    axis = next((axis for axis in range(1, x.ndim) if x.shape[axis] > 1), None)
    if axis is None:
        return 1.0
    first = np.take(x, range(x.shape[axis] - 1), axis).astype(np.float64)
    second = np.take(x, range(1, x.shape[axis]), axis).astype(np.float64)
    if not first.std() or not second.std():
        return 1.0
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def _one_class(y: NDArray[np.int64], labels: NDArray[np.int64]) -> Iterator[Fault]:
    if len(y) > 1 and len(np.unique(y)) == 1 and len(np.unique(labels)) > 1:
        yield Fault("calibration examples must not all be of one class", received=f"{len(y)} of label {y[0]}")


def _seen(x: NDArray[np.float32], test: Examples) -> Iterator[Fault]:
    """A fault when calibration examples are in the test split, by content."""
    seen = {example_digest(row) for row in x}
    batches = (test.batch(part)[0] for part in np.array_split(np.arange(len(test)), max(1, len(test) // 1000)))
    shared = sum(example_digest(row) in seen for batch in batches for row in batch)
    if shared:
        yield Fault(
            "calibration examples must not be in the test split: figures would be of what was calibrated on",
            received=f"{shared} of {len(test)} test examples",
        )
