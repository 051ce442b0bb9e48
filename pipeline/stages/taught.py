"""The base class of stages that can learn from a teacher (knowledge distillation)."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field, PositiveFloat, model_validator

from pipeline.core.errors import Fault, PlacedFault, input_of
from pipeline.data.tasks.task import Task
from pipeline.keras import tf
from pipeline.keras.models.model import Model, ModelFile
from pipeline.keras.training.lesson import Lesson
from pipeline.keras.types import KerasModel
from pipeline.stages.follower import Follower
from pipeline.stages.stage import Inputs, Stage
from pipeline.stages.training import Training

WRAPPED = "the layers that it wrapped can't be changed any more"
APART = "training on would move weights apart that share a value"
FILLED = "training on would fill its zeros"


class Taught(Training, Follower):
    """A stage that can learn from a teacher (Hinton, Vinyals and Dean, https://arxiv.org/abs/1503.02531).

    The loss is `alpha` times the loss on the labels plus `1 - alpha` times the loss against the teacher. For
    classifiers the latter is T^2 times the Kullback-Leibler divergence of the model's scores from the teacher's, both
    softened by the temperature T. For other tasks it is the mean squared error to the teacher's outputs.

    A subclass trains with `fit`, as in `Training`, which adds the teacher's loss if `teacher` is set::

        class Finetune(Taught):
            \"\"\"Train the model further, with or without a teacher.\"\"\"

            takes = gives = "keras"
            stage: Literal["finetune"]

            def run(self, inputs: Inputs, work: Path) -> None:
                tf.start(inputs.seed)
                model = tf.load_model(inputs.source.keras)
                curves = self.fit(model, inputs, tf.gives_logits(model))
                tf.save_model(model, work / KERAS)
                write_facts(work, curves)
    """

    anonymous = Stage.anonymous | {"teacher"}  # the key holds the teacher's content instead

    teacher: str | ModelFile | None = None
    """Model to learn from: the name of a stage above, or a model file `{source: file, path: ...}`. It gets the same
    augmented examples as the model."""
    temperature: PositiveFloat = 4.0
    """Divides the logits of teacher and model before the softmax. Higher values give more weight to the teacher's
    scores for the less likely labels. Classifiers only."""
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Weight of the loss on the examples' own labels or values, a fraction; the teacher's loss gets the rest."""

    @model_validator(mode="after")
    def _teaching_fits(self) -> "Taught":
        for name in ("temperature", "alpha") if self.teacher is None else ():
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name}: needs a `teacher:`")
        return self

    def unfit(self, task: Task) -> Iterator[PlacedFault]:
        yield from super().unfit(task)
        if not task.decides and self.temperature != type(self).model_fields["temperature"].default:
            received = f"{self.temperature} for {task.name}"
            yield ("temperature",), Fault("is for classifiers", received=received, do="leave it out")

    def identity(self) -> dict[str, Any]:
        if not isinstance(self.teacher, Model):
            return super().identity()
        with input_of(f"stages.{self.label}.teacher"):
            return super().identity() | {"teacher": self.teacher.identity()}

    def reads_beside(self) -> Mapping[str, str]:
        return {"teacher": self.teacher} if isinstance(self.teacher, str) else {}

    def unteachable(self, learner: KerasModel, teacher: KerasModel) -> Iterator[PlacedFault]:
        """Yield what prevents the network `learner` from learning from the network `teacher`."""
        yield from ()

    def lesson(self, inputs: Inputs) -> "Lesson | None":
        if self.teacher is None:
            return None
        decides = inputs.data.spec().task.decides
        return Lesson(self._load(self.teacher, inputs), decides, self.temperature, self.alpha)

    def _load(self, teacher: str | ModelFile, inputs: Inputs) -> KerasModel:
        if isinstance(teacher, str):
            return tf.load_model(inputs.upstream[teacher].keras)
        with input_of(f"stages.{self.label}.teacher"):
            return teacher.build(inputs.data.spec())
