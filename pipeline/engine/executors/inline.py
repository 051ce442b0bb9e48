"""The executor that runs stages in the current process, for stages that try out several other stages."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline.core.progress import Progress
from pipeline.core.store import Store, key_of
from pipeline.data.source import Data
from pipeline.keras.models.model import Model
from pipeline.stages.stage import Artifact, Inputs, Made, Stage


class Inline:
    """Runs stages in the current process. See `pipeline.stages.stage.Executor`."""

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
