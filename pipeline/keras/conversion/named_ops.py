"""The ops of a file that a config names, by the layers that they come from or by what they are."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from pipeline import tflite
from pipeline.core.errors import Fault, StageError, did_you_mean
from pipeline.tflite.int8_spec import BORDER
from pipeline.verify import tensor_errors


class Layers:
    """What computes in the first subgraph of a file, by the names of the Keras layers that are fused into each op.

    origin: the layer that each layer of a rewritten network stands for, by name; of both names either will do.
    """

    def __init__(self, content: bytes, origin: Mapping[str, str]) -> None:
        self.model = tflite.read(content)
        ends = _ends(self.model)
        self.of: dict[tflite.Op, list[str]] = {}
        for op in self.model.subgraphs[0].ops:
            if op.name not in BORDER:
                names = [*tensor_errors.names(self.model, op), *([ends[op]] if op in ends else [])]
                self.of[op] = sorted({*names, *(origin[name] for name in names if name in origin)})

    def matching(self, patterns: Sequence[str]) -> tuple[tflite.Op, ...]:
        """Ops that any of the patterns matches: of layers' names (`block1*`), or of ops' (`SOFTMAX`)."""
        return tuple(op for op in self.of if any(fnmatchcase(n, each) for n in self._known(op) for each in patterns))

    def kept(self, patterns: Sequence[str], setting: str, instead: str) -> tuple[tflite.Op, ...]:
        """The same. StageError for a pattern that matches none, and when all ops match.

        setting: that has the patterns. instead: the settings with which all of the file is of that kind.
        """
        for pattern in patterns:
            if not self.matching((pattern,)):
                do = did_you_mean(pattern, (name for op in self.of for name in self._known(op)))
                raise StageError(Fault(f"{setting}: no layer and no op matches {pattern!r}", do=do))
        found = self.matching(patterns)
        if len(found) == len(self.of):
            rule = f"{setting}: must leave some layers"
            raise StageError(Fault(rule, received="all ops of the file", do=f"set {instead}"))
        return found

    def listed(self, ops: Sequence[tflite.Op]) -> str:
        """``conv1 (CONV_2D), scores (SOFTMAX)`` for a note."""
        return ", ".join(dict.fromkeys(f"{(self.of[op] or ['?'])[0]} ({op.name})" for op in ops))

    def _known(self, op: tflite.Op) -> list[str]:
        return [op.name, *self.of[op]]


def _ends(model: tflite.Model) -> dict[tflite.Op, str]:
    """The ops that compute the outputs, with these' names: the caller's type may be another, made behind them."""
    made = {tensor: op for op in model.subgraphs[0].ops for tensor in op.outputs}
    ends = {}
    for name, tensor in model.signature.outputs.items():
        while tensor in made and made[tensor].name in BORDER:
            tensor = made[tensor].reads[0]
        if tensor in made:
            ends[made[tensor]] = name
    return ends
