"""What TensorFlow's converter refuses, in words: its own messages name ops and source files, and no way out."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.core.errors import EdgepipeError, Fault, StageError
from pipeline.core.telling import telling

_OTHER = "build the network with other layers, or convert to another quantization"
# Patterns of messages, what they mean, and what to do.
_KNOWN: tuple[tuple[str, str, str], ...] = (
    (
        r"'tf\.(\w+)' op is neither a custom op nor a flex op",
        "TensorFlow Lite has no op for tf.{}",
        "build the network with other layers: that one runs in no .tflite file",
    ),
    (
        r"16x8-bit not yet supported for op: '(\w+)'",
        "{} has no 16-bit kernel",
        "take `quantization: int8`, with `keep_int16` for the layers that need finer steps",
    ),
    (r"Node number \d+ \((\w+)\) failed to (?:prepare|invoke)", "the kernel of {} refuses its input", _OTHER),
    (r"error: (.*)", "{}", _OTHER),
)
_LOOPS = "the calibrator can't take loops: unroll them (`unroll=True`), or convert to float32 or dynamic"


def refusal(quantization: str, error: BaseException) -> Fault:
    """Return the fault of a network that the converter refused with this exception."""
    meant, do = _meant(error)
    return Fault(_rule(quantization), received=meant, do=do)


def crash(quantization: str, how: str) -> Fault:
    """Return the fault of a network at which the converter crashed. how: what ended its process."""
    return Fault(_rule(quantization), received=f"a fault of the converter, which {how}", do=_LOOPS)


def _rule(quantization: str) -> str:
    return f"the converter can't make {quantization} of this network"


def _meant(error: BaseException) -> tuple[str, str]:
    for pattern, words, do in _KNOWN:
        if found := re.findall(pattern, str(error)):
            return words.format(" and ".join(dict.fromkeys(found))), do
    return telling(error), _OTHER


@contextmanager
def refusals(quantization: str) -> Iterator[None]:
    """Raise StageError, in words, for whatever the converter raises inside."""
    try:
        yield
    except EdgepipeError:
        raise
    except Exception as error:  # the converter raises RuntimeError, ConverterError, ValueError and others
        raise StageError(refusal(quantization, error)) from error
