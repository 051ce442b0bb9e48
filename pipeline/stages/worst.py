"""The setting that selects layers by the ranking of a sensitivity stage."""

from pathlib import Path

from pydantic import PositiveInt

from pipeline.core.errors import Fault, StageError
from pipeline.core.settings import Settings
from pipeline.stages.sensitivity_facts import SensitivityFacts
from pipeline.stages.sidecar import read_facts


class Worst(Settings):
    """The most sensitive layers, as ranked by the sensitivity stage directly above."""

    worst: PositiveInt
    """Number of layers: those that cause the largest error in 8 bits. The model's input does not count."""

    def names(self, folder: Path) -> tuple[str, ...]:
        """Names of the Keras layers. `folder` is the directory of the sensitivity stage.

        Raises StageError if `worst` is not less than the number of ranked layers.
        """
        found = SensitivityFacts.model_validate(read_facts(folder)["sensitivity"])
        names = [row.layer for row in found.layers if row.kind != "InputLayer"]
        if self.worst >= len(names):
            rule = f"worst: must be less than the number of layers that are ranked, {len(names)}"
            raise StageError(Fault(rule, received=str(self.worst)))
        return tuple(names[: self.worst])
