"""Knowledge distillation: the part of the loss that comes from a teacher."""

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
    """What a model learns from its teacher, besides the examples' own labels or values.

    teacher         the teacher
    decides         whether outputs are scores of labels
    temperature     T, which divides the logits before the softmax
    alpha           weight of the loss on the examples' own labels or values
    features        layer of the teacher -> layer of the model whose output should match it
    feature_weight  factor of the errors of `features` in the loss
    """

    teacher: "tf_keras.Model"
    decides: bool
    temperature: float
    alpha: float
    features: Mapping[str, str] = field(default_factory=dict)
    feature_weight: float = 0.0

    def taught(self, learner: "tf_keras.Model", from_logits: bool) -> "tf_keras.Model":
        """A model that shares the learner's layers and weights, with the teacher's part of the loss added.

        from_logits: whether the learner's outputs are logits. Raises StageError if layers of `features` do not fit,
        before anything runs.
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
        """Outputs of the layers in `features`, the teacher's and the learner's; the last dimension can differ."""
        if faults := [
            replace(fault, rule=f"features: {fault.rule}") for fault in unlike(self.features, self.teacher, learner)
        ]:
            raise StageError(*faults)
        for theirs, own in self.features.items():
            yield self.teacher.get_layer(theirs).output, learner.get_layer(own).output

    def _scores(self, model: "tf_keras.Model", from_logits: bool) -> "tensorflow.Tensor":
        """The model's outputs; for a classifier logits (n, labels), up to a constant per example."""
        import tensorflow as tf
        import tf_keras

        output = model.outputs[0]
        if not self.decides or from_logits:
            return output
        layer, node, _ = output._keras_history
        if isinstance(getattr(layer, "layer", layer), tf_keras.layers.Softmax):
            return layer.get_input_at(node)  # `layer.input` is ambiguous: tfmot's pruning shares layers
        if output.shape[-1] == 1:  # the probability of the second of two labels
            p = tf.clip_by_value(output, 1e-7, 1 - 1e-7)
            return tf.math.log(tf.concat([1 - p, p], axis=-1))
        return tf.math.log(tf.maximum(output, 1e-30))  # the reciprocal of anything much smaller overflows float32


def unlike(features: Mapping[str, str], teacher: "tf_keras.Model", learner: "tf_keras.Model") -> Iterator[Fault]:
    """Faults of pairs in `features` (layer of the teacher -> layer of the learner).

    A pair is wrong if a layer does not exist, or if the outputs differ in more than the number of channels.
    """
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
    """A layer that computes the term to add to the loss from the learner's (examples, scores, features...).

    widths: number of channels that a 1x1 convolution projects each feature to (FitNets: Romero et al.,
    https://arxiv.org/abs/1412.6550); None where the channels are equal already. The projections are part of this layer,
    not of the learner, and are dropped with it.
    """
    import tensorflow as tf
    import tf_keras

    class TeacherLoss(tf_keras.layers.Layer):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(dtype="float32")
            self.projections = [width and tf_keras.layers.Dense(width, use_bias=False) for width in widths]

        def call(self, inputs: "list[tensorflow.Tensor]") -> "tensorflow.Tensor":
            x, scores, *features = inputs
            outputs = teacher(x, training=False)  # a closure, so that its weights are not the learner's
            expected, *theirs = map(tf.stop_gradient, outputs if isinstance(outputs, list) else [outputs])
            total = (1 - lesson.alpha) * lesson_loss(expected, scores, lesson)
            for project, wanted, own in zip(self.projections, theirs, features, strict=True):
                own = project(own) if project else own
                total += lesson.feature_weight * tf.reduce_mean(tf.square(wanted - own))
            return total

    return TeacherLoss()


def lesson_loss(expected: "tensorflow.Tensor", scores: "tensorflow.Tensor", lesson: Lesson) -> "tensorflow.Tensor":
    """Mean over the examples of the distance of the learner's scores from the teacher's (`expected`), both (n, ...).

    For a classifier it is T^2 KL(softmax(expected / T) || softmax(scores / T)), where T^2 keeps the size of the
    gradients independent of T; for other tasks the mean squared error.
    """
    import tensorflow as tf

    if not lesson.decides:
        return tf.reduce_mean(tf.square(expected - scores))
    soft = tf.nn.log_softmax(expected / lesson.temperature)
    own = tf.nn.log_softmax(scores / lesson.temperature)
    divergence = tf.reduce_sum(tf.exp(soft) * (soft - own), axis=-1)
    return lesson.temperature**2 * tf.reduce_mean(divergence)
