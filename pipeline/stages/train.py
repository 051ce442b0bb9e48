"""Train the model of the config from its initial, or its file's, weights."""

from pathlib import Path
from typing import Literal

from pydantic import NonNegativeInt

from pipeline import tf
from pipeline.stage import Inputs
from pipeline.stages.sidecar import write_facts
from pipeline.stages.training import Training, fit


class Train(Training):
    """Train the model with cross entropy, or with the mean squared error of values and of what is given back."""

    takes = "nothing"
    gives = "keras"

    stage: Literal["train"]
    epochs: NonNegativeInt
    """Passes over the training split; 0 takes the model as it is, which is for a file that is trained already."""

    def run(self, inputs: Inputs, work: Path) -> None:
        tf.start(inputs.seed)
        model = inputs.model.build(inputs.data.spec())
        curves = fit(model, self, inputs, tf.gives_logits(model)) if self.epochs else {}
        tf.save_model(model, work / "model.h5")
        write_facts(work, curves)
