"""Makes results in this very process: what a stage that tries several others does inside its own."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline.core.progress import Progress
from pipeline.core.store import Store, key_of
from pipeline.data.source import Data
from pipeline.keras.models.model import Model
from pipeline.stages.stage import Artifact, Inputs, Made, Stage


class Inline:
    """An executor."""

    def __init__(self, data: Data, model: Model, seed: int, store: Store) -> None:
        self.data, self.model, self.seed, self.store = data, model, seed, store

    def make(
        self,
        stage: Stage,
        identity: Mapping[str, Any],
        upstream: Mapping[str, Artifact],
        report: Callable[[Progress], None],
    ) -> Made:
        def fill(work: Path) -> None:
            resume = self.store.partial(key_of(identity))
            stage.run(Inputs(self.data, self.model, self.seed, upstream, resume, report, self), work)

        return Made(*self.store.make(stage.kind, identity, fill))
