"""Find the ops of a file that a config names, by the Keras layers that they come from or by the op's name."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from pipeline import tflite
from pipeline.core.errors import Fault, StageError, did_you_mean
from pipeline.tflite.int8_spec import BORDER
from pipeline.verify import tensor_errors


class Layers:
    """The ops of a file's first subgraph, with the names of the Keras layers that are fused into each.

    origin: for a rewritten network, layer -> the original layer; both names can be used.
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
        """Ops that match any of the patterns, by the name of a layer (`block1*`) or of the op (`SOFTMAX`)."""
        return tuple(op for op in self.of if any(fnmatchcase(n, each) for n in self._known(op) for each in patterns))

    def kept(self, patterns: Sequence[str], setting: str, instead: str) -> tuple[tflite.Op, ...]:
        """Same as `matching`. Raises StageError for a pattern that matches nothing, and if all ops match.

        setting  name of the setting with the patterns
        instead  the setting that applies to the whole file, for the message
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
        """The ops as text for a note, as ``conv1 (CONV_2D), scores (SOFTMAX)``."""
        return ", ".join(dict.fromkeys(f"{(self.of[op] or ['?'])[0]} ({op.name})" for op in ops))

    def _known(self, op: tflite.Op) -> list[str]:
        return [op.name, *self.of[op]]


def _ends(model: tflite.Model) -> dict[tflite.Op, str]:
    """The op that computes each output -> the output's name. Conversions to the caller's type are skipped."""
    made = {tensor: op for op in model.subgraphs[0].ops for tensor in op.outputs}
    ends = {}
    for name, tensor in model.signature.outputs.items():
        while tensor in made and made[tensor].name in BORDER:
            tensor = made[tensor].reads[0]
        if tensor in made:
            ends[made[tensor]] = name
    return ends
