"""How far a stage is."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far a stage is: `done` of `total` units of `what`, with the figures of the last one."""

    what: str
    done: int
    total: int
    figures: Mapping[str, float]
