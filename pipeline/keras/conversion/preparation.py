"""Bring a Keras model into the form that TensorFlow's converter takes, with equal outputs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import StageError
from pipeline.keras.conversion.request import INTEGER, Request
from pipeline.keras.conversion.unrolling import holds_recurrent, loops, refusal, unroll
from pipeline.keras.surgery.convertible import convertible
from pipeline.keras.surgery.flat import flat
from pipeline.keras.surgery.plain import Plain

if TYPE_CHECKING:
    import tf_keras


@dataclass(frozen=True)
class Prepared:
    """A model to convert.

    model   the network for the converter
    origin  name of a layer of the network -> the layer of the user's model that it replaces
    aware   whether the network has ranges that were learnt, so that it needs no calibration
    notes   what was changed that a user may want to know
    """

    model: "tf_keras.Model"
    origin: Mapping[str, str]
    aware: bool
    notes: tuple[str, ...]


def prepared(
    model: "tf_keras.Model", request: Request, aware: bool, origin: Mapping[str, str], x: NDArray[np.float32] | None
) -> Prepared:
    """Rewrite what the converter refuses, and unroll what has no integer op.

    aware, origin  of the model, as in `Prepared`
    x              calibration examples (n, ...); None for a file that needs none

    Raises StageError for a recurrent layer that would stay a loop in an integer file.
    """
    notes = []
    recurrent = holds_recurrent(model)
    if recurrent and aware:
        model, aware = Plain().model(model), False
        notes.append("holds recurrent layers, so all ranges are of the calibration examples")
    elif not aware:
        model, origin = convertible(model, request.quantization in INTEGER, x)
    if recurrent:
        model = flat(model)
        if unrolled := unroll(model, request.quantization, request.unroll):
            notes.append(f"unrolled, one step after the other: {', '.join(unrolled)}")
        if request.quantization in INTEGER and (left := list(loops(model, request.quantization))):
            raise StageError(*(refusal(layer, request.quantization, request.unroll) for layer in left))
    return Prepared(model, origin, aware, tuple(notes))
