"""What decides a stage's result, and so its key in the store: the same in a config as in a rung of the ladder."""

import platform
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pipeline.stage import Stage
from pipeline.store import FORMAT


def identity(
    stage: Stage, needs: Sequence[str], data: Mapping[str, Any], network: Mapping[str, Any] | None, seed: int
) -> dict[str, Any]:
    """What the key is the digest of.

    needs    keys of the results that it reads, in the order in which the stage names them
    network  identity of the network that it starts from; None for a stage that reads one above
    """
    return {
        **stage.identity(),
        "stage": getattr(stage, "stage"),  # noqa: B009 (the tag is a field of each subclass)
        "needs": list(needs),
        "data": data,
        "model": network,
        "seed": seed,
        "libraries": {name: _version(name) for name in stage.libraries},
        "python": ".".join(platform.python_version_tuple()[:2]),
        "format": FORMAT,
    }


@cache
def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"
