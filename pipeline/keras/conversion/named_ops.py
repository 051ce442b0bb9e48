"""Find the ops of a file that a config names, by the Keras layers that they come from or by the op's name."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from pipeline import tflite
from pipeline.core.errors import Fault, StageError, did_you_mean
from pipeline.tflite.int8_spec import BORDER


class NamedOps:
    """The ops of a file's first subgraph, with the names of the Keras layers and the output that each is of."""

    def __init__(self, content: bytes) -> None:
        self.model = tflite.read(content)
        outputs = self.model.output_ops()
        self.of = {
            op: [*self.model.layers_of(op), *([outputs[op]] if op in outputs else [])]
            for op in self.model.subgraphs[0].ops
            if op.name not in BORDER
        }

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
