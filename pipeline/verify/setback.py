"""What a file loses against the model that it was made from, on examples of any split."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline import tflite
from pipeline.core import units
from pipeline.data.tasks.task import Truth
from pipeline.verify.interpreters import litert
from pipeline.verify.model_facts import TensorError
from pipeline.verify.scoring.scoring import SCORING

if TYPE_CHECKING:
    from pipeline.data.spec import Spec

# 500 examples of ResNet-8 (12.5 M multiply-accumulates each) take 0.1 s on XNNPACK, which int16x8 does not use: it is
# 31 times slower. With 100 examples, 5 points are 5 of them.
BUDGET, MOST, LEAST, WIDE = 25 * 10**9, 500, 100, 31
FAR = 20.0  # decibels: rounding to 8 bits alone leaves more; 20 is an error of a tenth

Values = NDArray[np.float32]


class Setback(NamedTuple):
    """How well the model and the file answer the same examples, as shares of which 1 is perfect; see `Scoring.fit`."""

    examples: int
    model: float
    file: float

    @property
    def lost(self) -> float:
        """What the file loses, as a share; negative if it answers better."""
        return self.model - self.file


def sample(model: tflite.Model, examples: int) -> int:
    """Number of examples to compare on."""
    cost = max(model.macs, 1) * (WIDE if model.quantization == "int16x8" else 1)
    return min(examples, MOST, max(LEAST, BUDGET // cost))


def measure(path: Path, x: Values, y: Truth, outputs: Values, spec: "Spec") -> Setback | None:
    """Compare the file's answers with the model's outputs (n, ...) for examples x (n, ...) with labels or values y.

    None where the task has no such share. Raises InputError or StageError for a file that LiteRT can't run.
    """
    scoring = SCORING[spec.task.name]
    shares = [scoring.fit(spec.task.rows(each, spec), x, y) for each in (outputs, litert.run(path, x))]
    if any(share is None or not np.isfinite(share) for share in shares):
        return None
    return Setback(len(x), *(float(share) for share in shares if share is not None))


def first_far(errors: "tuple[TensorError, ...]") -> TensorError | None:
    """The first tensor in running order that is far off its values in the model; the worst one if none is."""
    far = [error for error in errors if error.sqnr_db is not None and error.sqnr_db < FAR]
    return min(far, key=lambda error: error.index) if far else next(iter(errors), None)


def told(found: Setback, decides: bool, error: TensorError | None) -> str:
    """A note on what was lost. error: the tensor to look at first."""
    count, lost = units.whole(found.examples), units.points(found.lost, sign=False)
    if decides:
        file, model = units.percent(found.file), units.percent(found.model)
        sides = f"{file} of {count} validation examples are right, and {model} by the Keras model: {lost} points less"
    else:
        file, model = units.percent(1 - found.file), units.percent(1 - found.model)
        sides = (
            f"on {count} validation examples the error is {file} of what a constant answer is off by, and {model} by "
            f"the Keras model: {lost} points more"
        )
    if error is None or error.sqnr_db is None:
        return sides
    return f"{sides}; look first at layer {error.layer!r} ({error.op}), where {error.sqnr_db:.1f} dB are left"
