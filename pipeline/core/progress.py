"""The progress report of a running stage."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """Progress of a running stage.

    what     the unit of work, such as "epoch"
    done     units completed
    total    units in all
    figures  metrics of the last unit, by name
    """

    what: str
    done: int
    total: int
    figures: Mapping[str, float]
