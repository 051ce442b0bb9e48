"""Device requirements of a file: the arena on TensorFlow Lite Micro and, if a check asks for them, Vela's estimates."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.core.errors import InputError, StageError
from pipeline.verify.model_facts import ArenaFacts

if TYPE_CHECKING:
    from pipeline.tflite import Model
    from pipeline.tflite.values import Array
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

    def measure(self, path: Path, inputs: "Mapping[str, Array] | None" = None) -> dict[str, Any]:
        """The fields of ModelFacts about the arena and, if asked for, about Vela.

        inputs: examples (N, ...) by name. The arena of a file of open shape is measured at theirs, on a copy of it.
        """
        return _arena(path, inputs) | (_vela(path, self.npu) if self.npu else {})


def asked(checks: "Iterable[Check]", runtime: str | None = None) -> Asked:
    """What these checks need to be measured."""
    return Asked(next((check.npu for check in checks if check.npu), None), runtime)


def _arena(path: Path, inputs: "Mapping[str, Array] | None") -> dict[str, Any]:
    from pipeline import tflite
    from pipeline.verify.interpreters import tflm

    model = tflite.read(path)
    shapes: tuple[tuple[int, ...], ...] = ()
    try:
        if any(-1 in tensor.shape_signature for tensor in model.inputs):
            model = _fixed(model, inputs)
            shapes = tuple(tensor.shape for tensor in model.inputs)
        found = tflm.arena(model)
    except tflm.Unavailable as missing:
        return {"arena_why": str(missing)}
    except (InputError, StageError) as error:  # without the place: it is a path in the store
        return {"arena_why": error.faults[0].reason, "arena_refused": True}
    facts = ArenaFacts(**found._asdict(), shapes=shapes)
    return {"arena": facts, "arena_bytes": found.total, "arena_why": ""}


def _fixed(model: "Model", inputs: "Mapping[str, Array] | None") -> "Model":
    """A copy of a file of open shape with the shapes that its tensors have on the first of these inputs."""
    from pipeline import tflite
    from pipeline.tflite import edit
    from pipeline.verify.interpreters import litert

    if inputs is None:
        return model
    runner = litert.Runner(model, kernels="builtin", keep=True)
    return tflite.read(edit.with_shapes(model.content, runner.shapes({name: x[:1] for name, x in inputs.items()})))


def _vela(path: Path, arguments: tuple[str, str | None, str | None]) -> dict[str, Any]:
    from pipeline.verify import vela

    try:
        return {"vela": vela.estimate(path, *arguments), "vela_why": ""}
    except vela.Unavailable as missing:
        return {"vela_why": str(missing)}
    except StageError as error:
        return {"vela_why": error.faults[0].reason}
