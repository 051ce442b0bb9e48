"""What an artifact was made from, and the kernels that the stages on the way changed."""

from collections.abc import Iterator
from typing import Literal

from pipeline.stages.sidecar import read_facts
from pipeline.stages.stage import Artifact

Change = Literal["pruned", "clustered"]  # names of facts of stages: layer -> number of weights of each changed kernel


def lineage(artifact: Artifact | None) -> Iterator[Artifact]:
    """An artifact and what it was made from, nearest first."""
    while artifact is not None:
        yield artifact
        artifact = artifact.made_from


def changed(artifact: Artifact, what: Change) -> dict[str, list[int]]:
    """Layer -> number of weights of each of its kernels that a stage changed, up to and including the artifact."""
    sizes: dict[str, list[int]] = {}
    for each in reversed([*lineage(artifact)]):
        sizes |= read_facts(each.path).get(what, {})
    return sizes
