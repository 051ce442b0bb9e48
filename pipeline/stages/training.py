"""The base class of stages that train."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from pipeline.core.errors import Fault, PlacedFault
from pipeline.data.tasks.task import Task
from pipeline.keras.training.fit import fit
from pipeline.keras.training.settings import TrainingSettings
from pipeline.keras.types import KerasCallback, KerasModel
from pipeline.stages.stage import Inputs, Stage

if TYPE_CHECKING:
    from pipeline.keras.training.lesson import Lesson


class Training(TrainingSettings, Stage):
    """A stage that trains: it has the settings of training, and `fit`, which can be interrupted and resumed.

    ::

        class Finetune(Training):
            \"\"\"Train the model further.\"\"\"

            takes = gives = "keras"
            stage: Literal["finetune"]

            def run(self, inputs: Inputs, work: Path) -> None:
                tf.start(inputs.seed)
                model = tf.load_model(inputs.source.keras)
                curves = self.fit(model, inputs, tf.gives_logits(model))
                tf.save_model(model, work / KERAS)
                write_facts(work, curves)
    """

    libraries: ClassVar[tuple[str, ...]] = ("tensorflow", "tf_keras", "tensorflow-model-optimization", "numpy")

    def unfit(self, task: Task) -> Iterator[PlacedFault]:
        for name in () if task.decides else ("label_smoothing", "class_weights"):
            if value := getattr(self, name):
                yield (name,), Fault("is for classifiers", received=f"{value} for {task.name}", do="leave it out")
        monitors = ["val_loss", *(f"val_{name}" for name in task.curves)]
        if self.early_stopping and self.early_stopping.monitor not in monitors:
            rule = f"must be {' or '.join(monitors)} for {task.name}"
            yield ("early_stopping", "monitor"), Fault(rule, received=self.early_stopping.monitor)

    def lesson(self, inputs: Inputs) -> "Lesson | None":
        """What the teacher adds to the loss; None without a teacher."""
        return None

    def fit(
        self, model: KerasModel, inputs: Inputs, from_logits: bool, callbacks: Sequence[KerasCallback] = ()
    ) -> dict[str, list[float]]:
        """Train the model in place, from the last finished epoch on; returns its curves. See `keras.training.fit`."""
        lesson = self.lesson(inputs)
        return fit(model, self, inputs.data, inputs.seed, from_logits, inputs.resume, inputs.report, callbacks, lesson)
