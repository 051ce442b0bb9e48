"""The stage `sensitivity`: rank the layers by the error that 8-bit quantization of each causes."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveInt, model_validator

from pipeline.core.progress import Progress, step
from pipeline.data.source import Data, spread
from pipeline.data.tasks.task import Truth
from pipeline.keras import tf
from pipeline.keras.conversion.calibration import Calibration, draw
from pipeline.keras.surgery import switched
from pipeline.keras.surgery.flat import flat
from pipeline.keras.surgery.switched import Simulation, Unit
from pipeline.stages.follower import Follower
from pipeline.stages.sensitivity_facts import Effect, LayerSensitivity, SensitivityFacts
from pipeline.stages.sidecar import read_facts, write_facts
from pipeline.stages.stage import KERAS, Inputs
from pipeline.verify.runtimes import comparison
from pipeline.verify.scoring.scoring import SCORING
from pipeline.verify.sqnr import sqnr_db

BATCH = 250  # examples in memory at once
PASSED_ON = ("sparsity", "clusters")  # facts of the stage above that stay true

Outputs = NDArray[np.float32]  # outputs of the model (n, ...), in real units


class Sensitivity(Follower):
    """Quantize each layer alone, and all layers except it, and rank the layers by the error of the outputs.

    A layer here is what TFLite computes in one op, such as a convolution with its normalisation and ReLU. Quantization
    is simulated in Keras, which takes seconds where real conversions take minutes: weights are rounded to 8 bits per
    channel, and activations to 8 bits over the range that calibration examples give them. Biases and softmax outputs
    are not rounded. Errors are measured on the validation split. The model is passed on unchanged; a convert stage
    directly below can use the ranking.
    """

    takes = "keras"
    gives = "keras"
    scores = True
    libraries = ("tensorflow", "tf_keras", "tensorflow-model-optimization", "numpy")
    not_behind: ClassVar[Mapping[str, str]] = {"qat": "its model rounds already"}

    stage: Literal["sensitivity"]
    samples: PositiveInt = 500
    """Number of validation examples, spread evenly over the split; all of them if there are fewer."""
    calibration: Calibration | None = None
    """How activation ranges are measured; `ranges` must be `minmax`. Default: on 200 examples."""

    @model_validator(mode="after")
    def _ranges_fit(self) -> "Sensitivity":
        if self.calibration and self.calibration.ranges != "minmax":
            raise ValueError("calibration.ranges: must be minmax here: no other is simulated")
        return self

    def run(self, inputs: Inputs, work: Path) -> None:
        tf.start(inputs.seed)
        model = tf.load_model(inputs.source.keras)
        above = read_facts(inputs.source.path)
        step("measuring ranges")
        sample = draw(inputs.data, self.calibration, inputs.seed).x
        batches = [sample[i : i + BATCH] for i in range(0, len(sample), BATCH)]
        simulated = switched.simulation(flat(model), batches)
        facts = ranked(simulated, inputs, self.samples)
        notes = [f"{name} is not simulated: {why}" for name, why in simulated.left.items()]
        tf.save_model(model, work / KERAS)
        kept = {name: above[name] for name in PASSED_ON if name in above}
        write_facts(work, notes=notes, sensitivity=facts.model_dump(mode="json"), **kept)


def ranked(simulated: Simulation, inputs: Inputs, samples: int) -> SensitivityFacts:
    """The layers of a simulated network, ranked: the one that causes the largest error alone is first."""
    split = inputs.data.split("validation")
    positions = spread(len(split), samples)
    x, y = split.batch(positions)
    outputs = simulated.outputs(x, BATCH)
    exact = outputs(())
    names = [unit.name for unit in simulated.units]

    def effect(on: Collection[str]) -> Effect:
        return _effect(outputs(on), exact, x, y, inputs.data)

    rows = []
    for done, unit in enumerate(simulated.units, start=1):
        rows.append(_row(unit, effect([unit.name]), effect([name for name in names if name != unit.name])))
        inputs.report(Progress("layer", done, len(names)))
    spec = inputs.data.spec()
    return SensitivityFacts(
        examples=len(x),
        split_sha256=split.sha256,
        metric=spec.task.main,
        score=_effect(exact, exact, x, y, inputs.data).score,
        all=effect(names),
        layers=tuple(sorted(rows, key=_harm)),
    )


def _effect(outputs: Outputs, exact: Outputs, x: NDArray[np.float32], y: Truth, data: Data) -> Effect:
    spec = data.spec()
    scoring = SCORING[spec.task.name]
    error = outputs.astype(np.float64) - exact
    noise, signal = float(np.sum(error**2)), float(np.sum(exact.astype(np.float64) ** 2))
    return Effect(
        sqnr_db=sqnr_db(signal, noise),
        rmse=float(np.sqrt(np.mean(error**2))),
        flips=comparison.flips(outputs, exact, spec),
        score=scoring.main(scoring.verdicts(spec.task.rows(outputs, spec), x, y), y),
    )


def _row(unit: Unit, alone: Effect, spared: Effect) -> LayerSensitivity:
    return LayerSensitivity(
        layer=unit.name, kind=unit.kind, layers=tuple(unit.layers), weights=unit.weights, alone=alone, spared=spared
    )


def _harm(row: LayerSensitivity) -> float:
    """Sort key: the SQNR with this layer alone in 8 bits, so the most harmful layer comes first."""
    return np.inf if row.alone.sqnr_db is None else row.alone.sqnr_db
