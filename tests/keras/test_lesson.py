"""The loss of a network that learns from a teacher."""

import numpy as np
import pytest

from tests.support.stages import DATA, MODEL


def softened(logits, temperature):
    exponent = np.exp(logits / temperature)
    return exponent / exponent.sum(axis=-1, keepdims=True)


def losses(send):
    """(name, what Keras makes of it, what NumPy makes of it) for each part of a lesson's loss."""
    from pipeline.keras import tf
    from pipeline.keras.training.lesson import Lesson, lesson_loss

    tf.start(3)
    import tf_keras

    spec, (x, y) = DATA.spec(), DATA.split("validation").batch(np.arange(100))
    teacher, learner = MODEL.build(spec), MODEL.build(spec)
    lesson = Lesson(teacher, True, 3.0, 0.25, {"relu2": "conv2"}, 0.5)
    taught = lesson.taught(learner, False)
    taught.compile("sgd", lambda truth, output: 0.25 * tf_keras.losses.categorical_crossentropy(truth, output))
    theirs, own = (model(x).numpy().astype(np.float64) for model in (teacher, learner))
    label = -np.log(own[np.arange(100), y]).mean()
    p, q = softened(np.log(theirs), 3), softened(np.log(own), 3)
    soft = 9 * (p * np.log(p / q)).sum(axis=1).mean()
    at = [
        tf_keras.Model(model.inputs, model.get_layer(name).output)
        for model, name in ((teacher, "relu2"), (learner, "conv2"))
    ]
    feature = np.square(at[0](x) - at[1](x)).mean()
    send(("all", taught.evaluate(x, np.eye(10)[y], 100, verbose=0), 0.25 * label + 0.75 * soft + 0.5 * feature))
    send(("weights", len(taught.weights), len(learner.weights)))
    values = Lesson(teacher, False, 4.0, 0.1)
    send(("values", float(lesson_loss(theirs, own, values)), np.square(theirs - own).mean()))
    two = [tf_keras.Sequential([tf_keras.layers.Dense(1, activation="sigmoid", input_shape=(4,))]) for _ in range(2)]
    pair = Lesson(two[0], True, 2.0, 0.0).taught(two[1], False)
    pair.compile("sgd", lambda truth, output: 0.0 * truth)
    z = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    odds = [np.concatenate([np.zeros((50, 1)), z @ model.get_weights()[0]], axis=1) for model in two]
    p, q = (softened(each, 2) for each in odds)
    divergence = 4 * (p * np.log(p / q)).sum(axis=1).mean()
    send(("two labels", pair.evaluate(z, np.zeros((50, 1)), 50, verbose=0), divergence))


def test_the_loss_is_that_of_the_papers(in_child):
    found = in_child(losses)
    assert [name for name, *_ in found] == ["all", "weights", "values", "two labels"]
    for name, value, expected in found:
        assert value == pytest.approx(expected, rel=1e-4), name
