"""Verify .tflite files from any tool: measure their facts and run the checks, without a store.

The files are untrusted, so all native code runs in separate processes, with limits of time and memory.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline import tflite
from pipeline.audit.examples import Arrays, Fitted, Given, fit, one
from pipeline.audit.inspection import blamed
from pipeline.core import processes, progress, units
from pipeline.core.errors import ConfigError, Fault, InputError, StageError
from pipeline.core.settings import Settings
from pipeline.data import contract
from pipeline.data.source import Data
from pipeline.data.sources.arrays import ArrayData
from pipeline.data.tasks.task import Task
from pipeline.report.document import DataFacts, Report, Split
from pipeline.report.environment import environment
from pipeline.report.origin import origin
from pipeline.verify import app_mistakes, drop, measurement, output_comparison, tensor_errors
from pipeline.verify.checks.check import AnyCheck, Check
from pipeline.verify.device import Asked, asked
from pipeline.verify.interpreters import litert
from pipeline.verify.model_facts import CheckResult, ModelFacts, RuntimeFacts, TensorError
from pipeline.verify.runtimes import comparison
from pipeline.verify.runtimes.runtime import RUNTIMES
from pipeline.verify.scoring.scoring import Verdicts
from pipeline.verify.targets import AnyTarget
from pipeline.verify.verdict import OF_TARGET, finite, judge

# Limits for one file. A model for a small device needs far less; the message has no arrays, so 64 MiB are enough.
LIMITS = processes.Limits(seconds=900, memory=8 << 30, message=64 << 20)


class Promises(Settings):
    """YAML file for `--checks`."""

    target: AnyTarget | None = None
    """Device that the file will run on; adds its checks."""
    checks: Annotated[tuple[AnyCheck, ...], Field(strict=False)] = ()
    """Checks that the file must pass."""

    def all(self) -> tuple[Check, ...]:
        return (*self.checks, *(self.target.checks() if self.target else ()))


def verify(
    model: Path,
    given: Given | None,
    baseline: Path | None,
    promises: Promises,
    limits: processes.Limits | None = None,
) -> Report:
    """Verify one file and return its report: facts, checks and, if data is given, results on the test split.

    Raises InputError for an invalid file, for data that does not fit it, and when a runtime crashes on it.
    """
    limits = limits or LIMITS
    fitted = _call("reading the data", model, limits, _fit, model, given, baseline) if given else Fitted(None, ())
    data = fitted.data
    if isinstance(data, Data):
        _refuse(promises.all(), data.spec().task)
    runtime = OF_TARGET.get(promises.target.runtime) if promises.target else None
    device = asked(promises.all(), runtime if runtime and RUNTIMES[runtime].budget else None)
    base, base_verdicts = _examined(baseline, None, data, device, limits) if baseline else (None, None)
    facts, verdicts = _examined(model, baseline, data, device, limits)
    facts = facts.model_copy(update={"notes": (*facts.notes, *fitted.notes)})
    if base is not None:
        base = base.model_copy(update={"baseline": True, "name": _other(base.name, facts.name)})
    if isinstance(data, Data) and base is not None and verdicts is not None and base_verdicts is not None:
        test = data.split("test")
        _, y = test.batch(np.arange(len(test)))
        named = {f"{facts.name}{key}": each for key, each in verdicts.items()}
        facts = drop.against(facts, base, named | {base.name: base_verdicts[""]}, y)
    checks = tuple(_judged(promises.all(), facts, base, runtime))
    return Report(
        name=model.stem,
        status="pass" if all(check.status == "pass" for check in checks) else "fail",
        origin=origin(),
        environment=environment(),
        config={},
        data=_data(data, facts),
        steps=(),
        models=(base, facts) if base else (facts,),
        checks=checks,
    )


def _refuse(checks: tuple[Check, ...], task: Task) -> None:
    """Raise ConfigError when a check does not fit the task of the data, with all such checks."""
    faults = [
        replace(fault, where="--checks", field=".".join(("checks", str(check.settings()["check"]), *map(str, place))))
        for check in checks
        for place, fault in check.unfit(task)
    ]
    if faults:
        raise ConfigError(*faults)


def _call(what: str, path: Path, limits: processes.Limits, *call: Any) -> Any:
    """What a function sends from a separate process that reads or runs the file of this path."""
    try:
        (found,) = processes.gather(what, [call], limits, hear=progress.tell)
    except StageError as error:
        raise blamed(error, path) from None
    return found


def _fit(send: processes.Send, path: Path, given: Given, baseline: Path | None) -> None:
    """Send the examples as the file takes them; called in the child process."""
    model = tflite.read(path)
    for each in (model, *([tflite.read(baseline)] if baseline else ())):
        carried, _ = contract.read(each.metadata, [tensor.shape for tensor in each.inputs])
        if carried:
            break
    fitted = fit(given, model, carried)
    bare = fitted.data.for_tests() if isinstance(fitted.data, ArrayData) else fitted.data  # the arrays stay here
    send(fitted._replace(data=bare))


def _examined(
    path: Path, baseline: Path | None, data: Data | Arrays | None, device: Asked, limits: processes.Limits
) -> tuple[ModelFacts, dict[str, Verdicts] | None]:
    """Measure one file in a separate process: its facts, and as `_scored` its verdicts."""
    found = _call("the verification", path, limits, _measure, path, baseline, data, device, limits.memory)
    facts, verdicts = found
    return facts, verdicts


def _other(name: str, taken: str) -> str:
    return f"{name} (baseline)" if name == taken else name


def _judged(
    checks: tuple[Check, ...], facts: ModelFacts, base: ModelFacts | None, runtime: str | None
) -> list[CheckResult]:
    found: list[CheckResult] = []
    for check in checks:
        if check.needs_baseline and base is None:
            rule = f"{check.needs_baseline} needs a baseline"
            raise ConfigError(Fault(rule, where="--checks", do="name the float file with --baseline FILE"))
        found += judge(check, facts, base, runtime)
    return [*found, *(result for model in (facts, base) if model for result in finite(model))]


def _measure(
    send: processes.Send,
    path: Path,
    baseline: Path | None,
    data: Data | Arrays | None,
    device: Asked,
    memory: int | None,
) -> None:
    """Measure one file and send its facts and verdicts; called in the child process."""
    model = tflite.read(path)
    facts = measurement.read(path.stem, path).model_copy(update={"file": path.name, "notes": tuple(_notes(model))})
    verdicts = None
    if data is not None:
        _check_memory(path, memory)
        facts, verdicts = (
            _answered(facts, path, baseline, data)
            if isinstance(data, Arrays)
            else _scored(facts, path, baseline, data, device.runtime)
        )
    send((facts.model_copy(update=device.measure(path, None if data is None else one(data, model))), verdicts))


def _notes(model: tflite.Model) -> Iterator[str]:
    """What the user should know of how the file is run."""
    keys = [signature.key for signature in model.signatures]
    if len(keys) > 1:
        yield f"of its signatures ({', '.join(keys[:6])}) {model.signature.key!r} is run, that of the first subgraph"
    if model.state.unseeded:
        yield f"{' and '.join(model.state.unseeded)} has no seed: figures differ from run to run"


def _check_memory(path: Path, memory: int | None) -> None:
    """Refuse a file whose activations need more memory than the limit, because even a small file may require a lot.

    This is an estimate: when the runtime needs more than that, the memory limit ends its process.
    """
    needed = tflite.read(path).peak_activation_bytes
    if memory is not None and needed > memory:
        rule = f"its tensors must fit into {units.size(memory)} of memory to be run"
        raise InputError(Fault(rule, where=str(path), received=f"{units.size(needed)} live at once"))


def _scored(
    facts: ModelFacts, path: Path, baseline: Path | None, data: Data, runtime: str | None
) -> tuple[ModelFacts, dict[str, Verdicts] | None]:
    """Add results on the test split to the facts. A file that LiteRT can't run gets the reason instead.

    Returns the verdicts (n,) too: under "" those of the base runtime, under ``@runtime`` those of each other one.
    """
    if facts.input is None or facts.output is None:
        ports = tflite.read(path).signature
        names = ", ".join(map(repr, ports.inputs))
        rule = "examples with labels are for a file with one input and one output"
        received = f"{len(facts.inputs)} inputs, {len(facts.outputs)} outputs"
        do = f"give --data an .npz file of arrays named {names}, the first dimension the examples"
        raise InputError(Fault(rule, where=str(path), received=received, do=do))
    contract.require(facts.contract, data.contract(), str(path))
    test, spec = data.split("test"), data.spec()
    x, y = test.batch(np.arange(len(test)))
    try:
        found = measurement.run(facts, path, x, y, spec, test.sha256)
    except litert.RefusedError as error:
        why = comparison.reason(error)
        refused = RuntimeFacts(runtime="xnnpack", examples=0, unavailable=why)
        return facts.model_copy(update={"missing": {spec.task.main: why}, "runtimes": (refused,)}), None
    compared = comparison.compare(path, x, y, spec, found.raw, runtime)
    more = {
        "runtimes": compared.facts,
        "mistakes": app_mistakes.measure(path, data),
        "tensors": _traced(path, baseline, x),
    }
    verdicts = {"": found.verdicts, **{f"@{name}": each for name, each in compared.verdicts.items()}}
    return found.facts.model_copy(update=more), verdicts


def _traced(path: Path, baseline: Path | None, x: NDArray[np.float32]) -> tuple[TensorError, ...]:
    """Errors of each tensor of a quantized file against the baseline's; empty when LiteRT can't run the baseline."""
    traced = tensor_errors.sample(tflite.read(path), x)
    if baseline is None or not len(traced):
        return ()
    try:
        return tensor_errors.errors(path, traced, tensor_errors.layers(baseline, traced))
    except litert.RefusedError:
        return ()


def _answered(facts: ModelFacts, path: Path, baseline: Path | None, data: Arrays) -> tuple[ModelFacts, None]:
    """Add a comparison of each output on the arrays. The baseline runs again here, to avoid sending its outputs."""
    inputs = data.load()
    rows = output_comparison.compare(path, inputs, baseline)
    update = {"answers": rows, "examples": min(map(len, inputs.values())), "split_sha256": data.archive.fingerprint()}
    return facts.model_copy(update=update), None


def _data(data: Data | Arrays | None, facts: ModelFacts) -> DataFacts:
    if data is None:
        return DataFacts(fingerprint="", labels=(), splits={})
    if isinstance(data, Arrays):
        digest = data.archive.fingerprint()
        return DataFacts(
            fingerprint=digest, labels=(), splits={"test": Split(examples=facts.examples or 0, sha256=digest)}
        )
    test = data.split("test")
    splits = {"test": Split(examples=len(test), sha256=test.sha256)}
    spec = data.spec()
    return DataFacts(fingerprint=data.fingerprint(), task=spec.task.name, labels=spec.labels, splits=splits)
