"""The stage `distill`: train a model with a teacher."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, PositiveFloat, model_validator

from pipeline.core.errors import PlacedFault
from pipeline.keras import tf
from pipeline.keras.models.model import ModelFile
from pipeline.keras.training.lesson import Lesson, unlike
from pipeline.keras.types import KerasModel
from pipeline.stages.sidecar import write_facts
from pipeline.stages.stage import KERAS, Inputs
from pipeline.stages.taught import APART, FILLED, Taught


class Distill(Taught):
    """Train the config's model, or the model of the stage that `from` names, with a teacher.

    With `features`, inner layers learn from the teacher too: the mean squared error between the outputs of both layers
    is added to the loss. If they differ in channels, a 1x1 convolution adapts the model's output; it is removed after
    training.
    """

    takes = "keras"
    gives = "keras"
    starts = True
    not_behind: ClassVar[Mapping[str, str]] = {
        "prune": f"{FILLED}; that stage takes a `teacher:` itself",
        "cluster": f"{APART}; that stage takes a `teacher:` itself",
        "qat": "training on would leave its ranges behind; that stage takes a `teacher:` itself",
    }

    stage: Literal["distill"]
    teacher: str | ModelFile
    """Model to learn from: the name of a stage above, or a model file `{source: file, path: ...}`."""
    features: dict[str, str] = Field(default_factory=dict)
    """Layer of the teacher -> layer of the model whose output should match it."""
    feature_weight: PositiveFloat = 1.0
    """Factor of the errors of `features` in the loss."""

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
        curves = self.fit(model, inputs, tf.gives_logits(model))
        tf.save_model(model, work / KERAS)
        write_facts(work, curves)

    def lesson(self, inputs: Inputs) -> Lesson | None:
        lesson = super().lesson(inputs)
        return lesson and replace(lesson, features=self.features, feature_weight=self.feature_weight)

    def unteachable(self, learner: KerasModel, teacher: KerasModel) -> Iterator[PlacedFault]:
        yield from ((("features",), fault) for fault in unlike(self.features, teacher, learner))

    def _start(self, inputs: Inputs) -> KerasModel:
        """The model before training."""
        if self.from_ is None:
            return inputs.model.build(inputs.data.spec())
        return tf.load_model(inputs.source.keras)
