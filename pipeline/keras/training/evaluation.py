"""The figures of a model on the validation split, without training."""

from typing import TYPE_CHECKING

from pipeline.core import progress
from pipeline.data.source import Data
from pipeline.keras.tf import gives_logits
from pipeline.keras.training.batches import in_order
from pipeline.keras.training.fit import loss_of

if TYPE_CHECKING:
    import tf_keras

BATCH = 256  # examples in memory at once


def evaluated(model: "tf_keras.Model", data: Data) -> dict[str, float]:
    """The loss and the task's metrics on the validation split, by name."""
    import tf_keras

    class Told(tf_keras.callbacks.Callback):  # type: ignore[misc]
        def on_test_batch_end(self, batch: int, logs: object = None) -> None:
            progress.step("validation batch", batch + 1, int(examples.cardinality()))

    spec, outputs = data.spec(), model.output_shape[1:]
    model.compile(loss=loss_of(outputs, spec.task, gives_logits(model)), metrics=list(spec.task.curves))
    examples = in_order(data.split("validation"), BATCH, spec.task, outputs)
    found = model.evaluate(examples, verbose=0, return_dict=True, callbacks=[Told()])
    return {name: float(value) for name, value in found.items()}
