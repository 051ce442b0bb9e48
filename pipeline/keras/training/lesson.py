"""What a model learns from a teacher: the part of the loss that comes from it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import Fault, StageError, did_you_mean
from pipeline.keras import tf

if TYPE_CHECKING:
    import tensorflow as tensorflow
    import tf_keras


@dataclass(frozen=True)
class Lesson:
    """What a model learns from its teacher, beside the examples.

    decides   whether outputs are scores of labels
    alpha     share of the loss that is the examples'
    features  layer of the teacher -> layer of the model whose output shall be like it
    """

    teacher: "tf_keras.Model"
    decides: bool
    temperature: float
    alpha: float
    features: Mapping[str, str] = field(default_factory=dict)
    feature_weight: float = 0.0

    def taught(self, learner: "tf_keras.Model", from_logits: bool) -> "tf_keras.Model":
        """The learner, layers and weights shared, with the teacher's part of the loss added.

        from_logits: whether the learner ends in logits. StageError when layers do not fit; nothing has run by then.
        """
        import tf_keras

        pairs = list(self._pairs(learner))
        asked = [self._scores(self.teacher, tf.gives_logits(self.teacher)), *(theirs for theirs, _ in pairs)]
        given = [self._scores(learner, from_logits), *(own for _, own in pairs)]
        teacher = tf_keras.Model(self.teacher.inputs, asked)
        widths = [theirs.shape[-1] if theirs.shape[-1] != own.shape[-1] else None for theirs, own in pairs]
        added = _loss_layer(teacher, self, widths)([*learner.inputs, *given])
        model = tf_keras.Model(learner.inputs, learner.outputs)
        model.add_loss(added)
        return model

    def _pairs(self, learner: "tf_keras.Model") -> "Iterator[tuple[tensorflow.Tensor, tensorflow.Tensor]]":
        """The outputs of the named layers, teacher's and learner's; of the same size but for the last dimension."""
        if faults := [
            replace(fault, rule=f"features: {fault.rule}") for fault in unlike(self.features, self.teacher, learner)
        ]:
            raise StageError(*faults)
        for theirs, own in self.features.items():
            yield self.teacher.get_layer(theirs).output, learner.get_layer(own).output

    def _scores(self, model: "tf_keras.Model", from_logits: bool) -> "tensorflow.Tensor":
        """The model's outputs; for a classifier logits (n, labels), up to a constant for each example."""
        import tensorflow as tf
        import tf_keras

        output = model.outputs[0]
        if not self.decides or from_logits:
            return output
        layer, node, _ = output._keras_history
        if isinstance(getattr(layer, "layer", layer), tf_keras.layers.Softmax):
            return layer.get_input_at(node)  # tfmot's pruning shares layers between two networks
        if output.shape[-1] == 1:  # the probability of the second of two labels
            p = tf.clip_by_value(output, 1e-7, 1 - 1e-7)
            return tf.math.log(tf.concat([1 - p, p], axis=-1))
        return tf.math.log(tf.maximum(output, 1e-30))  # float32 holds less, but not its reciprocal


def unlike(features: Mapping[str, str], teacher: "tf_keras.Model", learner: "tf_keras.Model") -> Iterator[Fault]:
    """Pairs of layers, the teacher's -> the learner's, that are not there, or differ in more than their channels."""
    for theirs, own in features.items():
        absent = list(_absent(teacher, theirs, "the teacher")) + list(_absent(learner, own, "the model"))
        yield from absent
        if not absent:
            pair = teacher.get_layer(theirs).output, learner.get_layer(own).output
            a, b = (tuple(tensor.shape[1:]) for tensor in pair)
            if a[:-1] != b[:-1]:
                rule = f"{theirs} of the teacher and {own} of the model must be of the same size"
                yield Fault(rule, received=f"{a} and {b}", do="the number of channels alone may differ")


def _absent(model: "tf_keras.Model", name: str, whose: str) -> Iterator[Fault]:
    names = [layer.name for layer in model.layers]
    if name not in names:
        yield Fault(f"{whose} has no layer {name!r}", do=did_you_mean(name, names))


def _loss_layer(teacher: "tf_keras.Model", lesson: Lesson, widths: list[int | None]) -> Any:
    """A layer that takes (examples, scores, features...) of the learner to what is added to its loss.

    widths: what each feature is projected to, None where it has that width (a 1x1 convolution, as in FitNets: Romero et
    al., https://arxiv.org/abs/1412.6550). The projections belong to this layer, and go with it.
    """
    import tensorflow as tf
    import tf_keras

    class TeacherLoss(tf_keras.layers.Layer):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(dtype="float32")
            self.projections = [width and tf_keras.layers.Dense(width, use_bias=False) for width in widths]

        def call(self, inputs: "list[tensorflow.Tensor]") -> "tensorflow.Tensor":
            x, scores, *features = inputs
            outputs = teacher(x, training=False)  # from outside this layer: none of the learner's weights are its
            expected, *theirs = map(tf.stop_gradient, outputs if isinstance(outputs, list) else [outputs])
            total = (1 - lesson.alpha) * lesson_loss(expected, scores, lesson)
            for project, wanted, own in zip(self.projections, theirs, features, strict=True):
                own = project(own) if project else own
                total += lesson.feature_weight * tf.reduce_mean(tf.square(wanted - own))
            return total

    return TeacherLoss()


def lesson_loss(expected: "tensorflow.Tensor", scores: "tensorflow.Tensor", lesson: Lesson) -> "tensorflow.Tensor":
    """Mean over the examples of how far the learner's scores are from the teacher's, each (n, ...).

    For a classifier T^2 KL(softmax(expected / T) || softmax(scores / T)); the T^2 keeps the gradients' size.
    """
    import tensorflow as tf

    if not lesson.decides:
        return tf.reduce_mean(tf.square(expected - scores))
    soft = tf.nn.log_softmax(expected / lesson.temperature)
    own = tf.nn.log_softmax(scores / lesson.temperature)
    divergence = tf.reduce_sum(tf.exp(soft) * (soft - own), axis=-1)
    return lesson.temperature**2 * tf.reduce_mean(divergence)
