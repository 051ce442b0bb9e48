"""The stage `verify`: measure .tflite files over the whole test split, and judge them by checks."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, PrivateAttr, model_validator
from typing_extensions import Self

from pipeline.core.errors import PlacedFault
from pipeline.core.family import NameOf
from pipeline.data.tasks.task import Task, Truth
from pipeline.stages.stage import DECISIONS, MEASURED, Inputs, Stage
from pipeline.verify import drop
from pipeline.verify.checks.check import AnyCheck, Check
from pipeline.verify.device import Asked, asked
from pipeline.verify.model_facts import CheckResult, ModelFacts
from pipeline.verify.runtimes.runtime import RUNTIMES
from pipeline.verify.scoring.scoring import Verdicts
from pipeline.verify.verdict import OF_TARGET, finite, judge

if TYPE_CHECKING:
    from pipeline.verify.targets import Target


class Verify(Stage):
    """Measure the .tflite files of the named stages, exactly as they ship, and judge them by checks.

    Files run on LiteRT (`ai_edge_litert`); a file that only TensorFlow Lite Micro can run runs there. Measurements
    depend only on the files and the test split, so changed checks or limits measure nothing again. Figures of an NPU
    are estimated only if a check or the target needs them.
    """

    takes = "tflite"
    gives = "checks"
    scores = True
    libraries = ("ai-edge-litert", "tflite-micro", "tensorflow", "tf_keras", "numpy", "scikit-learn")
    # Checks and how they are judged don't affect the measurements. Of the runtimes these are in every report; one that
    # comes later is no part of the key, so that nothing is measured again for its sake.
    decided_by = (
        "pipeline.stages.verification",
        "pipeline.verify.runtimes.xnnpack",
        "pipeline.verify.runtimes.reference",
        "pipeline.verify.runtimes.tflm",
    )
    # The key holds what `of` and `baseline` name, and of `runtime` what it asks to be measured.
    anonymous = Stage.anonymous | {"of", "baseline", "checks", "runtime"}

    stage: Literal["verify"]
    of: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
    """Names of the stages whose .tflite files to verify: convert, compress or auto."""
    baseline: str | None = None
    """Name of the stage that drops are measured against, usually a float32 convert stage."""
    runtime: Annotated[str, NameOf(RUNTIMES)] | None = None
    """Runtime on which checks about outputs (`accuracy`, `metric`, `agreement`, `flips`) are judged. Default: the
    target's; without a target the worst of all runtimes that ran the whole test split."""
    checks: Annotated[tuple[AnyCheck, ...], Field(strict=False)] = ()
    """Checks that each model must pass."""

    _target: Any = PrivateAttr(default=None)  # the config's Target

    def aimed_at(self, target: "Target | None") -> Self:
        """Return this stage with the checks that the target implies added."""
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
        """The device measurements that the checks need."""
        wanted = self.decisive
        return asked((*self.checks, *self._implied), wanted if wanted and RUNTIMES[wanted].budget else None)

    @property
    def decisive(self) -> str | None:
        """The runtime on which checks about outputs are judged; None for the worst that ran the whole test split."""
        return self.runtime or (OF_TARGET.get(self._target.runtime) if self._target else None)

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
        from pipeline.stages import verification  # with the runtimes, which a result in the store does without

        verification.measure(inputs, work, self.asked)

    def measured(self, folder: Path) -> tuple[ModelFacts, ...]:
        """The measurements of a finished verify stage in its directory, with drops against the baseline."""
        names = self.reads()
        loaded = [ModelFacts.model_validate(row) for row in json.loads((folder / MEASURED).read_text(encoding="utf-8"))]
        named = [facts.model_copy(update=_named(name)) for name, facts in zip(names, loaded, strict=True)]
        return self.compared(named, *self.decisions(folder)) if self.baseline else tuple(named)

    def compared(
        self, models: Sequence[ModelFacts], y: Truth, verdicts: Mapping[str, Verdicts]
    ) -> tuple[ModelFacts, ...]:
        """Add drops against the baseline, from the verdicts of each model and runtime on the truth y (N, ...)."""
        if self.baseline is None:
            return tuple(models)
        base = next(facts for facts in models if facts.name == self.baseline)
        return tuple(
            facts.model_copy(update={"baseline": True}) if facts is base else drop.against(facts, base, verdicts, y)
            for facts in models
        )

    def decisions(self, folder: Path) -> tuple[Truth, dict[str, Verdicts]]:
        """The test split's labels or values (N, ...), and the verdicts (N,) of each model of a finished stage, by name.

        Those of other runtimes are under ``name@runtime``, (n,) for the first n examples.

        A verdict is the decision; for tasks without decisions, what the example adds to the main metric, as a float.
        """
        with np.load(folder / DECISIONS) as kept:
            names, found = self.reads(), dict(zip(self.reads(), kept["decisions"], strict=True))
            for key in (key for key in kept.files if "@" in key):
                index, _, runtime = key.partition("@")
                found[f"{names[int(index)]}@{runtime}"] = kept[key]
            return kept["y"], found

    def judge(self, folder: Path) -> tuple[CheckResult, ...]:
        """Judge the models of a finished stage by all checks."""
        return self.judged(self.measured(folder))

    def judged(self, measured: Sequence[ModelFacts]) -> tuple[CheckResult, ...]:
        """Judge these measurements, which include drops against the baseline, by all checks."""
        models = {facts.name: facts for facts in measured}
        base = models.get(self.baseline or "")
        own = (
            result
            for check in self.checks
            for name in self.of
            if name in (check.of or self.of)
            for result in judge(check, models[name], base, self.decisive)
        )
        implied = (
            result
            for check in self._implied
            for name in self.of
            for result in judge(check, models[name], base, self.decisive)
        )
        place = f" for {self._target.name}" if self._target else ""
        finites = (result for facts in measured for result in finite(facts))
        return (*own, *(result.model_copy(update={"what": result.what + place}) for result in implied), *finites)


def _named(name: str) -> dict[str, Any]:
    return {"name": name, "file": f"{name}.tflite"}
