"""Train a model with a teacher."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, PositiveFloat, model_validator

from pipeline import tf
from pipeline.errors import Fault, StageError
from pipeline.models.file import File
from pipeline.stage import Inputs
from pipeline.stages.sidecar import read_facts, write_facts
from pipeline.stages.teacher import Lesson, Taught
from pipeline.stages.training import fit

if TYPE_CHECKING:
    import tf_keras

KEPT = {"sparsity": "prune", "clusters": "cluster", "quantized": "qat"}  # what training on would undo -> its stage


class Distill(Taught):
    """Train the config's model, or that of the stage that `from` names, with a teacher.

    `features` has layers inside learn too: the mean squared error between both layers' outputs is added to the loss,
    behind a 1x1 convolution where they differ in channels, which is dropped afterwards.
    """

    takes = "keras"
    gives = "keras"
    starts = True

    stage: Literal["distill"]
    teacher: str | File
    """Name of a stage above, or a model file `{source: file, path: ...}`."""
    features: dict[str, str] = Field(default_factory=dict)
    """Layer of the teacher -> layer of the model that shall give the same."""
    feature_weight: PositiveFloat = 1.0
    """Weight of the features' errors in the loss."""

    @model_validator(mode="after")
    def _weight_counts(self) -> "Distill":
        if not self.features and self.feature_weight != 1:
            raise ValueError("feature_weight: needs `features:`")
        if not self.features and self.alpha == 1:
            raise ValueError("alpha: must be less than 1 without `features:`, or nothing is learnt from the teacher")
        return self

    def run(self, inputs: Inputs, work: Path) -> None:
        tf.start(inputs.seed)
        model = self._start(inputs)
        curves = fit(model, self, inputs, tf.gives_logits(model))
        tf.save_model(model, work / "model.h5")
        write_facts(work, curves)

    def lesson(self, inputs: Inputs) -> Lesson | None:
        lesson = super().lesson(inputs)
        return lesson and replace(lesson, features=self.features, feature_weight=self.feature_weight)

    def _start(self, inputs: Inputs) -> "tf_keras.Model":
        """The model before its training; StageError when it is one that training would spoil."""
        if self.from_ is None:
            return inputs.model.build(inputs.data.spec())
        facts = read_facts(inputs.source.path)
        for name, stage in KEPT.items():
            if facts.get(name):
                do = f"name the teacher in the {stage} stage, with `teacher:`, or put that stage behind this one"
                raise StageError(Fault(f"would undo what the {stage} stage did", received=inputs.source.name, do=do))
        return tf.load_model(inputs.source.path / "model.h5")
