"""The stage `train`: train a model from its initial weights, or from those of its file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import NonNegativeInt

from pipeline.core.errors import PlacedFault, input_of
from pipeline.data.tasks.task import Task
from pipeline.keras import tf
from pipeline.keras.layer_values import require_finite
from pipeline.keras.models.model import AnyModel, Model
from pipeline.stages.sidecar import write_facts
from pipeline.stages.stage import KERAS, Inputs
from pipeline.stages.training import Training


class Train(Training):
    """Train the model with cross entropy (classification) or mean squared error (regression, anomaly detection)."""

    takes = "nothing"
    gives = "keras"
    anonymous = Training.anonymous | {"model"}  # the key holds the identity of `network` instead

    stage: Literal["train"]
    epochs: NonNegativeInt
    """Passes over the training split. 0 takes the model unchanged, for a file that is already trained."""

    model: AnyModel | None = None
    """Model to train instead of the config's, such as a teacher."""

    def network(self, model: Model) -> Model:
        return self.model or model

    def unfit(self, task: Task) -> Iterator[PlacedFault]:
        yield from super().unfit(task)
        for place, fault in self.model.unfit(task) if self.model else ():
            yield ("model", *place), fault

    def run(self, inputs: Inputs, work: Path) -> None:
        tf.start(inputs.seed)
        with input_of(f"stages.{self.label}.model" if self.model else "model"):
            model = self.network(inputs.model).build(inputs.data.spec())
        curves = self.fit(model, inputs, tf.gives_logits(model)) if self.epochs else {}
        require_finite(model, inputs.data)
        tf.save_model(model, work / KERAS)
        write_facts(work, curves)
