"""The words of an exception that say what is wrong."""

import pytest

from pipeline.core.telling import telling

GRAPH = """Graph execution error:

Detected at node sequential/rnn/op defined at (most recent call last):
  File "train.py", line 1

Batch size must be fixed
\t [[{{node op}}]]
\t [[net/rnn/Call]]
"""
CALL = """Exception encountered when calling layer "outer" (type Functional).

Exception encountered when calling layer 'conv' (type Conv2D).

{{function_node __wrapped__Conv2D_device_/CPU:0}} The Conv2D op supports NHWC only. [Op:Conv2D]

Call arguments received by layer 'conv' (type Conv2D):
  • inputs=tf.Tensor(shape=(4, 4, 12, 12), dtype=float32)

Call arguments received by layer "outer" (type Functional):
  • inputs=tf.Tensor
"""
USER = """Exception encountered when calling layer "own" (type Own).

in user code:

    File "layers.py", line 14, in call  *
        broken(x)

    TypeError: no such thing


Call arguments received by layer "own" (type Own):
  • x=tf.Tensor
"""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "ValueError"),
        ("ValueError", "ValueError"),
        ("one\ntwo", "ValueError: one"),
        (GRAPH, "ValueError in layer 'rnn': Batch size must be fixed"),
        (USER, "ValueError in layer 'own': TypeError: no such thing"),
        (CALL, "ValueError in layer 'conv': The Conv2D op supports NHWC only. [Op:Conv2D]"),
    ],
)
def test_the_line_and_the_layer_that_count_are_told(text, told):
    assert telling(ValueError(text)) == told
