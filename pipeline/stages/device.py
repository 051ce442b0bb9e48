"""What a device needs for a file, where a check asks for it: the arena on TensorFlow Lite Micro, Vela's estimates."""

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from pipeline import tflm, vela
from pipeline.checks.arena import Arena
from pipeline.checks.check import Check
from pipeline.checks.npu import Npu
from pipeline.errors import InputError, StageError
from pipeline.facts import ArenaFacts


class Asked(NamedTuple):
    """What is to be measured.

    npu  the arguments of vela.estimate; the first check's where several ask
    """

    arena: bool
    npu: tuple[str, str | None, str | None] | None

    def identity(self) -> dict[str, Any]:
        """What the figures depend on, with the versions of the tools; empty when nothing is asked."""
        arena = {"arena": _version("tflite_micro")} if self.arena else {}
        return arena | ({"npu": [*self.npu, vela.installed()]} if self.npu else {})

    def measure(self, path: Path) -> dict[str, Any]:
        """The fields of ModelFacts that were asked for."""
        return (_arena(path) if self.arena else {}) | (_vela(path, self.npu) if self.npu else {})


def asked(checks: Iterable[Check]) -> Asked:
    """What these checks need."""
    checks = tuple(checks)
    npus = (check for check in checks if isinstance(check, Npu))
    npu = next(((check.accelerator, check.system_config, check.memory_mode) for check in npus), None)
    return Asked(any(isinstance(check, Arena) for check in checks), npu)


def _arena(path: Path) -> dict[str, Any]:
    try:
        found = tflm.arena(path)
    except tflm.Unavailable as missing:
        return {"arena_why": str(missing)}
    except (InputError, StageError) as error:  # its own words, without the place: that is in the store
        return {"arena_why": _reason(error), "arena_refused": True}
    return {"arena": ArenaFacts(**found._asdict()), "arena_bytes": found.total, "arena_why": ""}


def _vela(path: Path, arguments: tuple[str, str | None, str | None]) -> dict[str, Any]:
    try:
        return {"vela": vela.estimate(path, *arguments), "vela_why": ""}
    except vela.Unavailable as missing:
        return {"vela_why": str(missing)}
    except StageError as error:
        return {"vela_why": _reason(error)}


def _reason(error: InputError | StageError) -> str:
    fault = error.faults[0]
    return f"{fault.rule}: {fault.received}" if fault.received else fault.rule


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"
