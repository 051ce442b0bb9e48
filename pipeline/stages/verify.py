"""Measure .tflite files on LiteRT, over the whole test split, and judge them by checks."""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr, model_validator
from typing_extensions import Self

from pipeline import child, measure, mistakes, runtimes, tensors, tf, tflite
from pipeline.checks import AnyCheck
from pipeline.checks.check import Check
from pipeline.errors import Fault
from pipeline.facts import CheckResult, Errors, ModelFacts
from pipeline.scoring import Verdicts
from pipeline.stage import Artifact, Data, Inputs, Progress, Spec, Stage
from pipeline.stages.device import Asked, asked
from pipeline.stages.sidecar import read_facts
from pipeline.targets import Target
from pipeline.task import Task, Truth

if TYPE_CHECKING:
    import tf_keras


class Verify(Stage):
    """Measure every named model on `ai_edge_litert`, or on TFLite Micro what that alone runs, from the bytes that ship.

    The measurements depend on the files and the test split alone, so other checks or limits measure nothing again; but
    the figures of an NPU are only estimated when a check, or the target, asks for them.
    """

    takes = "tflite"
    gives = "checks"
    libraries = ("ai-edge-litert", "tflite-micro", "tensorflow", "tf_keras", "numpy", "scikit-learn")
    anonymous = Stage.anonymous | {"of", "baseline", "checks"}  # `of` and `baseline` count through what they name

    stage: Literal["verify"]
    of: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
    """Names of the convert and compress stages to verify."""
    baseline: str | None = None
    """Name of the convert stage that drops are measured against."""
    checks: Annotated[tuple[AnyCheck, ...], Field(strict=False)] = ()
    """What must hold for each model."""

    _target: Target | None = PrivateAttr(default=None)  # the config's

    def aimed_at(self, target: Target | None) -> Self:
        """The same stage, which also runs the checks that the target implies."""
        stage = self.model_copy()
        stage._target = target
        return stage

    @property
    def _implied(self) -> tuple[Check, ...]:
        return self._target.checks() if self._target else ()

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

    def unfit(self, task: Task) -> Iterator[tuple[tuple[str | int, ...], Fault]]:
        for i, check in enumerate(self.checks):
            for place, fault in check.unfit(task):
                yield ("checks", i, *place), fault

    def reads(self) -> Sequence[str]:
        return tuple(dict.fromkeys((*((self.baseline,) if self.baseline else ()), *self.of)))

    def run(self, inputs: Inputs, work: Path) -> None:
        child.start_server(None, child.RUNTIMES)  # its imports overlap what comes before its first process
        tf.start(inputs.seed)
        test = inputs.data.split("test")
        x, y = test.batch(np.arange(len(test)))
        device = self.asked
        measured, verdicts = [], []
        for i, (name, artifact) in enumerate(inputs.upstream.items(), start=1):
            path = artifact.path / "model.tflite"
            facts, kept = measure_file(name, path, artifact, device, inputs.data, x, y)
            measured.append(facts)
            verdicts.append(kept)
            inputs.report(Progress("model", i, len(inputs.upstream), {}))
        (work / "measured.json").write_text(
            json.dumps([facts.model_dump(mode="json") for facts in measured], indent=1), encoding="utf-8"
        )
        np.savez(work / "decisions.npz", y=y, decisions=np.stack(verdicts))

    def measured(self, folder: Path) -> tuple[ModelFacts, ...]:
        """The measurements of a finished verify stage, with drops against the baseline."""
        names = self.reads()
        loaded = [
            ModelFacts.model_validate(row) for row in json.loads((folder / "measured.json").read_text(encoding="utf-8"))
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
            else measure.against(facts, base, verdicts[facts.name], verdicts[base.name], y)
            for facts in models
        )

    def decisions(self, folder: Path) -> tuple[Truth, dict[str, Verdicts]]:
        """The test split's labels or values, and what each model of a finished stage decided on it, (N,), by its name.

        Without decisions it is what each example adds to the main metric, in floating point.
        """
        with np.load(folder / "decisions.npz") as kept:
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


def measure_file(
    name: str, path: Path, made: Artifact | None, device: Asked, data: Data, x: NDArray[np.float32], y: Truth
) -> tuple[ModelFacts, Verdicts]:
    """All facts of one file, and its verdicts (N,). x: (N, ...) float32 and y: (N, ...) are the test split.

    made: the artifact that the file is of; without it nothing is compared with the Keras model.
    """
    spec = data.spec()
    found = measure.run(measure.read(name, path), path, x, y, spec, data.split("test").sha256)

    def elsewhere() -> dict[str, Any]:
        return {"runtimes": runtimes.compare(path, x, y, spec, found.raw), **device.measure(path)}

    with ThreadPoolExecutor(1) as pool:  # waits for processes of their own, while this one is busy with TensorFlow
        others = pool.submit(elsewhere)
        here = {"mistakes": mistakes.measure(path, data)}
        keras = _against_keras(path, made, found, data, x) if made else {}
    return found.facts.model_copy(update=here | keras | others.result()), found.verdicts


def _against_keras(
    path: Path, made: Artifact, found: measure.Measured, data: Data, x: NDArray[np.float32]
) -> dict[str, Any]:
    """The fields of ModelFacts that tell how far a file is from the Keras model that it was made from."""
    model, facts, source = tflite.read(path), found.facts, _loaded(_keras(made).path / "model.h5")
    pruned = _touched(made, facts, "sparsity")
    traced = tensors.sample(model, x)
    return {
        "pruned": tuple(pruned),
        "pruned_sparsity": share_of_zeros(model, pruned),
        "clustered": tuple(_touched(made, facts, "clusters")),
        "error": _errors(found.output, tf.predict(source, data.split("test")), data.spec()),
        "tensors": tensors.errors(path, traced, tf.layer_outputs(source, traced)) if len(traced) else (),
    }


@lru_cache(maxsize=1)  # files that are verified one after the other are mostly made from the same
def _loaded(path: Path) -> "tf_keras.Model":
    return tf.load_model(path)


def _chain(artifact: Artifact | None) -> Iterator[Artifact]:
    """An artifact and what it was made from, nearest first."""
    while artifact is not None:
        yield artifact
        artifact = artifact.made_from


def _keras(made: Artifact) -> Artifact:
    """The artifact with the Keras model that a file was made from: a stage that makes both has it beside the file."""
    return next(each for each in _chain(made) if (each.path / "model.h5").is_file())


def _touched(made: Artifact, facts: ModelFacts, what: Literal["sparsity", "clusters"]) -> list[str]:
    """Names of the weight tensors that belong to layers which a prune stage pruned, or a cluster stage clustered."""
    layers = {layer for each in _chain(made) for layer in read_facts(each.path).get(what, {})}
    return [name for name in facts.sparsity if tflite.keras_layers(name) & layers]


def share_of_zeros(model: tflite.Model, names: Sequence[str]) -> float | None:
    """Zeros over all weights of those tensors together; None without any."""
    sizes = {tensor.name: tensor.elements for op in model.ops for tensor in op.weights}
    total = sum(sizes[name] for name in names)
    zeros = model.sparsity()
    return sum(zeros[name] * sizes[name] for name in names) / total if total else None


def _errors(output: NDArray[np.floating], keras: NDArray[np.floating], spec: Spec) -> Errors:
    """Of outputs (N, ...) against the Keras model's, in real units. SQNR is 10 log10(signal power / error power)."""
    error = output.astype(np.float64) - keras
    flips = runtimes.flips(output, keras, spec)
    power = float(np.sum(error**2))
    return Errors(
        mean_abs=float(np.abs(error).mean()),
        max_abs=float(np.abs(error).max()),
        sqnr_db=float(10 * np.log10(np.sum(keras.astype(np.float64) ** 2) / power)) if power else None,
        agreement=None if flips is None else 1 - flips / len(output),
    )
