"""The layers that a sensitivity stage ranked as the worst."""

from pathlib import Path

from pydantic import PositiveInt

from pipeline.core.errors import Fault, StageError
from pipeline.core.settings import Settings
from pipeline.stages.sensitivity_facts import SensitivityFacts
from pipeline.stages.sidecar import read_facts


class Worst(Settings):
    """Layers by the ranking of the sensitivity stage right above."""

    worst: PositiveInt
    """How many: those that do most harm in 8 bits, the model's input left out."""

    def names(self, folder: Path) -> tuple[str, ...]:
        """The Keras layers' names, from the facts of the stage above. StageError when these are all that it ranked."""
        found = SensitivityFacts.model_validate(read_facts(folder)["sensitivity"])
        names = [row.layer for row in found.layers if row.kind != "InputLayer"]
        if self.worst >= len(names):
            rule = f"worst: must be less than the number of layers that are ranked, {len(names)}"
            raise StageError(Fault(rule, received=str(self.worst)))
        return tuple(names[: self.worst])
