"""Device requirements of a file: the arena on TensorFlow Lite Micro and, if a check asks for them, Vela's estimates."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.core.errors import InputError, StageError
from pipeline.verify.model_facts import ArenaFacts

if TYPE_CHECKING:
    from pipeline.verify.checks.check import Check


class Asked(NamedTuple):
    """What to measure in addition to the arena.

    npu  the arguments of vela.estimate, from the first check that asks; None when no check does
    """

    npu: tuple[str, str | None, str | None] | None
    runtime: str | None = None

    def identity(self) -> dict[str, Any]:
        """What the figures depend on, with the version of Vela. Empty when no check asks."""
        found: dict[str, Any] = {"runtime": self.runtime} if self.runtime else {}
        if self.npu is not None:
            from pipeline.verify import vela

            found["npu"] = [*self.npu, vela.installed()]
        return found

    def measure(self, path: Path) -> dict[str, Any]:
        """The fields of ModelFacts about the arena and, if asked for, about Vela."""
        return _arena(path) | (_vela(path, self.npu) if self.npu else {})


def asked(checks: "Iterable[Check]", runtime: str | None = None) -> Asked:
    """What these checks need to be measured."""
    return Asked(next((check.npu for check in checks if check.npu), None), runtime)


def _arena(path: Path) -> dict[str, Any]:
    from pipeline.verify.interpreters import tflm

    try:
        found = tflm.arena(path)
    except tflm.Unavailable as missing:
        return {"arena_why": str(missing)}
    except (InputError, StageError) as error:  # without the place: it is a path in the store
        return {"arena_why": error.faults[0].reason, "arena_refused": True}
    return {"arena": ArenaFacts(**found._asdict()), "arena_bytes": found.total, "arena_why": ""}


def _vela(path: Path, arguments: tuple[str, str | None, str | None]) -> dict[str, Any]:
    from pipeline.verify import vela

    try:
        return {"vela": vela.estimate(path, *arguments), "vela_why": ""}
    except vela.Unavailable as missing:
        return {"vela_why": str(missing)}
    except StageError as error:
        return {"vela_why": error.faults[0].reason}
