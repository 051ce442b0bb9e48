"""A Keras metric: the number of labels that have examples and are never predicted."""

from typing import TYPE_CHECKING, Any

from pipeline.data.tasks.task import Shape

if TYPE_CHECKING:
    import tensorflow
    import tf_keras

NAME = "unpredicted"


def unpredicted(outputs: Shape, from_logits: bool) -> "tf_keras.metrics.Metric":
    """The metric for a classifier whose outputs per example are `outputs`: (labels,), or (1,) for two labels."""
    import tensorflow as tf
    import tf_keras

    scores = outputs[-1] or 0
    labels = max(2, scores)
    threshold = 0.0 if from_logits else 0.5

    def decided(values: "tensorflow.Tensor") -> "tensorflow.Tensor":
        """The label of each example (n,)."""
        if scores > 1:
            return tf.argmax(values, axis=-1, output_type=tf.int32)
        return tf.cast(tf.reshape(values, [-1]) > threshold, tf.int32)

    class Unpredicted(tf_keras.metrics.Metric):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(NAME, dtype="float32")
            self.seen = self.add_weight(name="seen", shape=(labels,), initializer="zeros")
            self.said = self.add_weight(name="said", shape=(labels,), initializer="zeros")

        def reset_state(self) -> None:
            for counts in (self.seen, self.said):
                counts.assign(tf.zeros_like(counts))

        def update_state(self, truth: Any, output: Any, sample_weight: Any = None) -> None:
            true = tf.argmax(truth, axis=-1) if scores > 1 else tf.reshape(truth, [-1])
            for counts, of in ((self.seen, tf.cast(true, tf.int32)), (self.said, decided(output))):
                flat = tf.reshape(of, [-1])
                counts.assign_add(tf.reduce_sum(tf.one_hot(flat, labels), axis=0))

        def result(self) -> "tensorflow.Tensor":
            missed = tf.logical_and(self.seen > 0, tf.equal(self.said, 0))
            return tf.reduce_sum(tf.cast(missed, tf.float32))

    return Unpredicted()
