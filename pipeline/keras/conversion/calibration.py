"""The representative dataset for calibration: drawn by the seed, and checked before use.

The converter accepts each of these mistakes silently and makes a wrong file: noise, examples of a single class, images
without the preprocessing. With test images, the figures on the test split are of what was calibrated on.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from pipeline.core.errors import Fault, InputError, StageError
from pipeline.core.hashing import array_sha256, example_digest
from pipeline.core.settings import Settings
from pipeline.data.source import Data, Examples, spread
from pipeline.keras.conversion.estimators import Estimator

SAMPLES = 200  # default number of examples
KEPT = 0.9999  # default of `percentile`
SPAN = (0.5, 4.0)  # allowed ratio of calibration's range to training's; un-normalised images are 255 times wider
NOISE = 0.1  # examples look like noise if the correlation of neighbouring values is below this,
SIGNAL = 0.3  # and that of the training examples above this


class Calibration(Settings):
    """How activation ranges are measured: on a representative dataset, drawn at random from the calibration split."""

    samples: PositiveInt | None = None
    """Number of examples. Default: 200, or all of the split if it has fewer."""
    ranges: Estimator = "minmax"
    """Estimator of int8 activation ranges. `minmax` includes all values; `percentile`, `mse` and `kl` clip outliers for
    smaller quantization steps; `moving_average` averages the minimum and maximum over batches of examples."""
    percentile: Annotated[float, Field(gt=0.5, lt=1)] = KEPT
    """Share of the values within the range, a fraction; for `ranges: percentile`."""
    draw: PositiveInt = 1
    """Number of the random draw; another number draws other examples."""
    halves: bool = False
    """Also convert with each half of the examples, and report how much ranges, decisions and accuracy differ."""


@dataclass(frozen=True)
class Sample:
    """The calibration examples x (n, ...), and the range (low, high) of the training examples."""

    x: NDArray[np.float32]
    low: float
    high: float

    @property
    def sha256(self) -> str:
        return array_sha256(self.x)


def draw(data: Data, settings: Calibration | None, seed: int) -> Sample:
    """Draw the examples and check them. Raises InputError with everything that makes them unsuitable."""
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
    misfit = _unfit(x, train) if data.spec().ids is None else ()  # ids are no quantities: they have no range
    faults = [*misfit, *one_class, *_seen(x, data.split("test"))]
    if faults:
        raise InputError(*faults)
    return Sample(x, float(train.min()), float(train.max()))


def check_input(content: bytes, sample: Sample) -> None:
    """Raise StageError if the range of a quantized input in the file does not fit the training examples."""
    from pipeline import tflite  # the settings above do without the file format

    (tensor,) = tflite.read(content).inputs
    if tensor.scale is None or tensor.zero_point is None:
        return
    limits = np.iinfo(tensor.dtype.lower())
    low, high = (tensor.scale * (limit - tensor.zero_point) for limit in (limits.min, limits.max))
    ratio = (high - low) / max(sample.high - sample.low, 1e-12)
    if (
        tensor.dtype != "INT16" and not SPAN[0] <= ratio <= SPAN[1]
    ):  # int16 is symmetric around zero, so its range can be twice as wide
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
    """Correlation of neighbouring values along the examples' first axis longer than 1; 1 if there is none."""
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
    """A fault if calibration examples are in the test split, by their content."""
    seen = {example_digest(row) for row in x}
    batches = (test.batch(part)[0] for part in np.array_split(np.arange(len(test)), max(1, len(test) // 1000)))
    shared = sum(example_digest(row) in seen for batch in batches for row in batch)
    if shared:
        yield Fault(
            "calibration examples must not be in the test split: figures would be of what was calibrated on",
            received=f"{shared} of {len(test)} test examples",
        )
