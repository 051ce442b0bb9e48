"""The stage `recalibrate`: compute the statistics of batch normalisation again, without augmentation."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import PositiveInt

from pipeline.core import units
from pipeline.core.errors import Fault, PlacedFault
from pipeline.keras import normalization, tf
from pipeline.keras.training.evaluation import evaluated
from pipeline.keras.types import KerasModel
from pipeline.stages.follower import Follower, nearest
from pipeline.stages.sidecar import read_facts, write_facts
from pipeline.stages.stage import KERAS, Inputs, Stage

PASSED_ON = ("sparsity", "clusters", "quantized", "per_channel", "origin")  # facts of the stage above that stay true


class Recalibrate(Follower):
    """Set batch normalisation to the exact mean and variance of training examples without augmentation.

    This replaces the moving averages of training, which lag behind the weights and are of augmented batches (PreciseBN:
    Wu and Johnson, https://arxiv.org/abs/2105.07576). Layers are processed in running order, each after the ones
    before it are updated, so the statistics are those at inference. Nothing is trained. The report gives the validation
    figures before and after. After qat it pays off for weights of few bits: training steps make some of them jump to
    the next value, and moving averages lag behind (Nagel et al., https://arxiv.org/abs/2203.11086, section 3.3).
    Rounded weights and ranges do not change.
    """

    takes = "keras"
    gives = "keras"
    libraries = ("tensorflow", "tf_keras", "tensorflow-model-optimization", "numpy")

    stage: Literal["recalibrate"]
    examples: PositiveInt = 1000
    """Number of training examples, drawn at random by the seed; all of them if there are fewer."""

    def unfit_behind(self, above: Sequence[Stage]) -> Iterator[PlacedFault]:
        yield from super().unfit_behind(above)
        if getattr(nearest(above, "qat"), "per_channel", True) is False:
            rule = "is not for a qat with per_channel: false, whose network has no batch normalisation left"
            yield ("stage",), Fault(rule, do="leave the stage out")

    def examine(self, model: KerasModel) -> Iterator[PlacedFault | str]:
        reasons = normalization.reasons(model)
        if all(reasons.values()):
            received = "; ".join(f"{name} {why}" for name, why in reasons.items()) or "none"
            rule = "there is no batch normalisation whose statistics could be estimated"
            yield (), Fault(rule, received=received, do="leave the stage out")

    def run(self, inputs: Inputs, work: Path) -> None:
        tf.start(inputs.seed)
        model = tf.load_model(inputs.source.keras)
        above = read_facts(inputs.source.path)
        self.refuse(model)
        reasons = normalization.reasons(model)
        train = inputs.data.split("train")
        drawn = np.random.default_rng(inputs.seed).permutation(len(train))[: self.examples]
        before = evaluated(model, inputs.data)
        rows = normalization.estimate(model, reasons, train, np.sort(drawn), inputs.report)
        after = evaluated(model, inputs.data)
        tf.save_model(model, work / KERAS)
        kept = {name: above[name] for name in PASSED_ON if name in above}
        note = _note(before, after, sum(row["done"] for row in rows), len(drawn))
        write_facts(work, layers=rows, notes=[note], before=before, after=after, examples=len(drawn), **kept)


def _note(before: dict[str, float], after: dict[str, float], layers: int, examples: int) -> str:
    name = list(before)[-1]  # the loss is first
    show = units.percent if name == "accuracy" else units.number
    of = f"{layers} layer{'s' if layers > 1 else ''} and {units.whole(examples)} training examples"
    return f"validation {name} {show(before[name])} before, {show(after[name])} after, of {of}"
