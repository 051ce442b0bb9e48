"""What the converter's messages mean, in words."""

import pytest

from pipeline.core.errors import StageError
from pipeline.keras.conversion.refusal import refusals

FLEX = """Could not translate.<string>:1:1: error: 'tf.AsString' op is neither a custom op nor a flex op
<string>:1:1: error: 'tf.StringToNumber' op is neither a custom op nor a flex op
<unknown>:0: error: failed while converting: 'main':
"""


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (FLEX, "TensorFlow Lite has no op for tf.AsString and StringToNumber"),
        ("Quantization to 16x8-bit not yet supported for op: 'NEG'.\n" * 2, "NEG has no 16-bit kernel"),
        (
            "3 != 2 Node number 0 (SPACE_TO_BATCH_ND) failed to prepare.",
            "the kernel of SPACE_TO_BATCH_ND refuses",
        ),
        ("<string>:1:1: error: 'tf.Transpose' op x should be of the same rank", "'tf.Transpose' op x should be of the"),
        ("RuntimeError", "RuntimeError"),
        ("something new\nmore", "RuntimeError: something new"),
    ],
)
def test_the_line_that_counts_is_told_with_what_to_do(message, told):
    with pytest.raises(StageError) as caught, refusals("int8"):
        raise RuntimeError(message)
    (fault,) = caught.value.faults
    assert fault.rule == "the converter can't make int8 of this network"
    assert fault.received.startswith(told)
    assert fault.do
