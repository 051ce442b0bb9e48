"""A stage of a run together with everything that decides its result, and therefore its key in the store.

A stage has the same key in a config and in a rung of the ladder of `auto`.
"""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pipeline.core import code_digest
from pipeline.core.store import FORMAT, key_of
from pipeline.core.versions import installed
from pipeline.stages.stage import Stage
from pipeline.verify.scoring.scoring import SCORING


@dataclass(frozen=True)
class Step:
    """A stage with everything that decides its result.

    name      label of the stage
    needs     the steps that it reads, in the order in which the stage names them
    identity  everything that decides the result; the key is its digest
    """

    name: str
    stage: Stage
    needs: tuple["Step", ...]
    identity: Mapping[str, Any]

    @cached_property
    def key(self) -> str:
        """Key of the result in the store."""
        return key_of(self.identity)

    @property
    def source(self) -> "Step | None":
        """The step that the result is made from; None for the first step and for one that reads several (verify)."""
        return self.needs[0] if len(self.needs) - len(self.stage.reads_beside()) == 1 else None

    @property
    def chain(self) -> tuple["Step", ...]:
        """All steps that the result was made from, nearest first."""
        return (self.source, *self.source.chain) if self.source else ()


def identity(
    stage: Stage, needs: Sequence[str], data: Mapping[str, Any], network: Mapping[str, Any] | None, seed: int, task: str
) -> dict[str, Any]:
    """Everything that decides a stage's result, as JSON values.

    needs    keys of the results that it reads, in the order in which the stage names them
    data     identity of the data source
    network  identity of the model that it starts from; None for a stage that reads the result of another
    task     name of the data's task
    """
    return {
        **stage.identity(),
        "stage": stage.kind,
        "needs": list(needs),
        "data": data,
        "model": network,
        "seed": seed,
        **({"scoring": code_digest.digest(SCORING.module(task))} if stage.scores else {}),
        "libraries": {name: installed(name) for name in stage.libraries},
        "python": ".".join(platform.python_version_tuple()[:2]),
        "format": FORMAT,
    }
