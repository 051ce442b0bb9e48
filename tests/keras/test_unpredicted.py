"""The number of labels that have examples and are never predicted."""

import numpy as np
import pytest


def counted(send, outputs, from_logits, batches):
    """The metric after each pass over the batches of (labels or one-hot rows, outputs), each (n, ...)."""
    from pipeline.keras import tf

    tf.load()
    from pipeline.keras.training.unpredicted import unpredicted

    metric = unpredicted(outputs, from_logits)
    for _ in range(2):
        metric.reset_state()
        for truth, output in batches:
            metric.update_state(np.asarray(truth, np.float32), np.asarray(output, np.float32))
        send(float(metric.result()))


EYE = np.eye(4)


@pytest.mark.parametrize(
    ("outputs", "from_logits", "batches", "expected"),
    [
        ((4,), False, [(EYE[[0, 1]], EYE[[0, 0]]), (EYE[[2, 1]], EYE[[3, 0]])], 2),  # 1 and 2; no example is of 3
        ((4,), False, [(EYE[[0, 1]], EYE[[1, 0]])], 0),  # wrong, and yet predicted
        ((1,), False, [([[0], [1]], [[0.2], [0.4]])], 1),
        ((1,), False, [([[0], [1]], [[0.2], [0.6]])], 0),
        ((1,), True, [([[0], [1]], [[-0.2], [0.1]])], 0),
    ],
)
def test_labels_with_examples_that_are_never_predicted_are_counted(in_child, outputs, from_logits, batches, expected):
    assert in_child(counted, outputs, from_logits, batches) == [expected, expected]
