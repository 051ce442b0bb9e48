"""Measure .tflite files on LiteRT, over the whole test split, and judge them by checks."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, PrivateAttr, model_validator
from typing_extensions import Self

from pipeline.core.errors import PlacedFault
from pipeline.data.tasks.task import Task, Truth
from pipeline.stages import verification
from pipeline.stages.stage import Inputs, Stage
from pipeline.verify import measurement
from pipeline.verify.checks.check import AnyCheck, Check
from pipeline.verify.device import Asked, asked
from pipeline.verify.model_facts import CheckResult, ModelFacts
from pipeline.verify.scoring.scoring import Verdicts

if TYPE_CHECKING:
    from pipeline.verify.targets import Target


class Verify(Stage):
    """Measure every named model on `ai_edge_litert`, or on TFLite Micro what that alone runs, from the bytes that ship.

    The measurements depend on the files and the test split alone, so other checks or limits measure nothing again; but
    the figures of an NPU are only estimated when a check, or the target, asks for them.
    """

    takes = "tflite"
    gives = "checks"
    scores = True
    libraries = ("ai-edge-litert", "tflite-micro", "tensorflow", "tf_keras", "numpy", "scikit-learn")
    decided_by = verification.__name__  # checks, and how they are judged, decide no measurement
    anonymous = Stage.anonymous | {"of", "baseline", "checks"}  # `of` and `baseline` count through what they name

    stage: Literal["verify"]
    of: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
    """Names of the convert and compress stages to verify."""
    baseline: str | None = None
    """Name of the convert stage that drops are measured against."""
    checks: Annotated[tuple[AnyCheck, ...], Field(strict=False)] = ()
    """What must hold for each model."""

    _target: Any = PrivateAttr(default=None)  # the config's Target

    def aimed_at(self, target: "Target | None") -> Self:
        """The same stage, which also runs the checks that the target implies."""
        stage = self.model_copy()
        stage._target = target
        return stage

    @property
    def _implied(self) -> tuple[Check, ...]:
        checks: tuple[Check, ...] = self._target.checks() if self._target else ()
        return checks

    def identity(self) -> dict[str, Any]:
        device = self.asked.identity()
        return super().identity() | ({"device": device} if device else {})

    @property
    def asked(self) -> Asked:
        """What the checks need of a device."""
        return asked((*self.checks, *self._implied))

    @model_validator(mode="after")
    def _names_fit(self) -> "Verify":
        if len(set(self.of)) < len(self.of):
            raise ValueError("of: must name each model once")
        for i, check in enumerate(self.checks):
            for name in check.of or ():
                if name not in self.of:
                    raise ValueError(f"checks.{i}.of: must name models that verify's own `of` names")
            if check.needs_baseline and self.baseline is None:
                raise ValueError(f"checks.{i}.{check.needs_baseline}: needs a `baseline:`, the name of a convert stage")
        return self

    def unfit(self, task: Task) -> Iterator[PlacedFault]:
        for i, check in enumerate(self.checks):
            for place, fault in check.unfit(task):
                yield ("checks", i, *place), fault

    def reads(self) -> Sequence[str]:
        return tuple(dict.fromkeys((*((self.baseline,) if self.baseline else ()), *self.of)))

    def run(self, inputs: Inputs, work: Path) -> None:
        verification.measure(inputs, work, self.asked)

    def measured(self, folder: Path) -> tuple[ModelFacts, ...]:
        """The measurements of a finished verify stage, with drops against the baseline."""
        names = self.reads()
        loaded = [
            ModelFacts.model_validate(row)
            for row in json.loads((folder / verification.MEASURED).read_text(encoding="utf-8"))
        ]
        named = [facts.model_copy(update=_named(name)) for name, facts in zip(names, loaded, strict=True)]
        return self.compared(named, *self.decisions(folder)) if self.baseline else tuple(named)

    def compared(
        self, models: Sequence[ModelFacts], y: Truth, verdicts: Mapping[str, Verdicts]
    ) -> tuple[ModelFacts, ...]:
        """The measurements with drops against the baseline, from the verdicts (N,) of each model on the truth y."""
        if self.baseline is None:
            return tuple(models)
        base = next(facts for facts in models if facts.name == self.baseline)
        return tuple(
            facts.model_copy(update={"baseline": True})
            if facts is base
            else measurement.against(facts, base, verdicts[facts.name], verdicts[base.name], y)
            for facts in models
        )

    def decisions(self, folder: Path) -> tuple[Truth, dict[str, Verdicts]]:
        """The test split's labels or values, and what each model of a finished stage decided on it, (N,), by its name.

        Without decisions it is what each example adds to the main metric, in floating point.
        """
        with np.load(folder / verification.DECISIONS) as kept:
            return kept["y"], dict(zip(self.reads(), kept["decisions"], strict=True))

    def judge(self, folder: Path) -> tuple[CheckResult, ...]:
        """Every check on every model that it is for."""
        return self.judged(self.measured(folder))

    def judged(self, measured: Sequence[ModelFacts]) -> tuple[CheckResult, ...]:
        """The same of these measurements, with drops against the baseline."""
        models = {facts.name: facts for facts in measured}
        base = models.get(self.baseline or "")
        own = (
            result
            for check in self.checks
            for name in self.of
            if name in (check.of or self.of)
            for result in check.judge(models[name], base)
        )
        implied = (result for check in self._implied for name in self.of for result in check.judge(models[name], base))
        place = f" for {self._target.name}" if self._target else ""
        return (*own, *(result.model_copy(update={"what": result.what + place}) for result in implied))


def _named(name: str) -> dict[str, Any]:
    return {"name": name, "file": f"{name}.tflite"}
