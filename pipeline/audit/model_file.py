"""Verify .tflite files that any tool made: the facts, the checks, and no store.

The files are untrusted, so everything native runs in processes of its own, with limits of time and memory.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline import tflite
from pipeline.audit.inspection import blamed
from pipeline.config import config
from pipeline.core import processes, units
from pipeline.core.errors import ConfigError, Fault, InputError, StageError
from pipeline.core.settings import Settings
from pipeline.data import contract
from pipeline.data.source import AnyData, Data
from pipeline.data.sources.digits import Digits
from pipeline.data.sources.npz import Npz
from pipeline.data.tasks.task import Task
from pipeline.report.document import DataFacts, Report, Split
from pipeline.report.environment import environment
from pipeline.verify import app_mistakes, measurement, output_comparison, tensor_errors
from pipeline.verify.checks.check import AnyCheck, Check
from pipeline.verify.device import Asked, asked
from pipeline.verify.interpreters import litert
from pipeline.verify.model_facts import CheckResult, ModelFacts, RuntimeFacts, TensorError
from pipeline.verify.runtimes import comparison
from pipeline.verify.scoring.scoring import Verdicts
from pipeline.verify.targets import AnyTarget

# Of one file: a model that a small device is to run needs far less. What is told of it has no arrays.
LIMITS = processes.Limits(seconds=900, memory=8 << 30, message=64 << 20)


class Examples(Settings):
    """A YAML file for --data."""

    data: AnyData
    """Where the examples come from, as in a config file."""


class Promises(Settings):
    """A YAML file for --checks."""

    target: AnyTarget | None = None
    """The device: its checks are run too."""
    checks: Annotated[tuple[AnyCheck, ...], Field(strict=False)] = ()
    """What must hold for the file."""

    def all(self) -> tuple[Check, ...]:
        return (*self.checks, *(self.target.checks() if self.target else ()))


@dataclass(frozen=True)
class Arrays:
    """Examples without labels: an .npz file of arrays (N, ...) by the names of a file's inputs."""

    archive: Npz

    def load(self) -> dict[str, NDArray[Any]]:
        """The arrays; InputError for one that no file can take."""
        arrays = self.archive.named()
        for name, array in arrays.items():
            if not array.ndim or array.dtype.kind not in "uifb" or not np.isfinite(array).all():
                rule = f"{name} must be an array (N, ...) of finite numbers"
                where, received = str(self.archive.path), f"{array.dtype} {array.shape}"
                raise InputError(Fault(rule, where=where, received=received))
        return arrays


def load_data(spec: str) -> Data | Arrays:
    """`digits`, an .npz file, or a YAML file with `data:`."""
    path = Path(spec)
    if spec == "digits":
        return Digits()
    if path.suffix == ".npz":
        archive = Npz(source="npz", path=path)
        return archive if archive.has_splits() else Arrays(archive)
    if path.suffix in (".yaml", ".yml"):
        return config.load_as(Examples, path).data
    raise ConfigError(Fault("must be digits, an .npz file or a YAML file with `data:`", where="--data", received=spec))


def verify(
    model: Path,
    data: Data | Arrays | None,
    baseline: Path | None,
    promises: Promises,
    limits: processes.Limits | None = None,
) -> Report:
    """The report of one file: facts, figures on the test split where data is given, and checks.

    Raises InputError for a file that is none, that its data does not fit, or that a runtime crashes on.
    """
    if isinstance(data, Data):
        _refuse(promises.all(), data.spec().task)
    limits = limits or LIMITS
    device = asked(promises.all())
    base, base_verdicts = _examined(baseline, None, data, device, limits) if baseline else (None, None)
    facts, verdicts = _examined(model, baseline, data, device, limits)
    if base is not None:
        base = base.model_copy(update={"baseline": True, "name": _other(base.name, facts.name)})
    if isinstance(data, Data) and base is not None and verdicts is not None and base_verdicts is not None:
        test = data.split("test")
        _, y = test.batch(np.arange(len(test)))
        facts = measurement.against(facts, base, verdicts, base_verdicts, y)
    checks = tuple(_judged(promises.all(), facts, base))
    return Report(
        name=model.stem,
        status="pass" if all(check.status == "pass" for check in checks) else "fail",
        environment=environment(),
        config={},
        data=_data(data, facts),
        steps=(),
        models=(base, facts) if base else (facts,),
        checks=checks,
    )


def _refuse(checks: tuple[Check, ...], task: Task) -> None:
    """ConfigError for all checks that are not for such data."""
    faults = [
        replace(fault, where="--checks", field=".".join(("checks", str(check.settings()["check"]), *map(str, place))))
        for check in checks
        for place, fault in check.unfit(task)
    ]
    if faults:
        raise ConfigError(*faults)


def _examined(
    path: Path, baseline: Path | None, data: Data | Arrays | None, device: Asked, limits: processes.Limits
) -> tuple[ModelFacts, Verdicts | None]:
    """The facts of one file, and for each test example what it is compared with others by."""
    calls = [(_measure, path, baseline, data, device, limits.memory)]
    try:
        (found,) = processes.gather("the verification", calls, limits)
    except StageError as error:
        raise blamed(error, path) from None
    facts, verdicts = found
    return facts, verdicts


def _other(name: str, taken: str) -> str:
    return f"{name} (baseline)" if name == taken else name


def _judged(checks: tuple[Check, ...], facts: ModelFacts, base: ModelFacts | None) -> list[CheckResult]:
    found: list[CheckResult] = []
    for check in checks:
        if check.needs_baseline and base is None:
            rule = f"{check.needs_baseline} needs a baseline"
            raise ConfigError(Fault(rule, where="--checks", do="name the float file with --baseline FILE"))
        found += check.judge(facts, base)
    return found


def _measure(
    send: processes.Send,
    path: Path,
    baseline: Path | None,
    data: Data | Arrays | None,
    device: Asked,
    memory: int | None,
) -> None:
    """What the child process does."""
    facts = measurement.read(path.stem, path).model_copy(update={"file": path.name})
    verdicts = None
    if data is not None:
        _check_memory(path, memory)
        facts, verdicts = (
            _answered(facts, path, baseline, data) if isinstance(data, Arrays) else _scored(facts, path, baseline, data)
        )
    send((facts.model_copy(update=device.measure(path)), verdicts))


def _check_memory(path: Path, memory: int | None) -> None:
    """A file of a few bytes may ask for any memory; where the runtime's own plan needs more, its process ends."""
    needed = tflite.read(path).peak_activation_bytes
    if memory is not None and needed > memory:
        rule = f"its tensors must fit into {units.size(memory)} of memory to be run"
        raise InputError(Fault(rule, where=str(path), received=f"{units.size(needed)} live at once"))


def _scored(facts: ModelFacts, path: Path, baseline: Path | None, data: Data) -> tuple[ModelFacts, Verdicts | None]:
    """The figures on the test split. What LiteRT can't run has none, with the reason."""
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
        refused = RuntimeFacts(runtime="xnnpack", examples=0, unavailable=str(error))
        return facts.model_copy(update={"missing": {spec.task.main: str(error)}, "runtimes": (refused,)}), None
    more = {
        "runtimes": comparison.compare(path, x, y, spec, found.raw),
        "mistakes": app_mistakes.measure(path, data),
        "tensors": _traced(path, baseline, x),
    }
    return found.facts.model_copy(update=more), found.verdicts


def _traced(path: Path, baseline: Path | None, x: NDArray[np.float32]) -> tuple[TensorError, ...]:
    """Each tensor of a quantized file against the baseline's; none where LiteRT does not run that."""
    traced = tensor_errors.sample(tflite.read(path), x)
    if baseline is None or not len(traced):
        return ()
    try:
        return tensor_errors.errors(path, traced, tensor_errors.layers(baseline, traced))
    except litert.RefusedError:
        return ()


def _answered(facts: ModelFacts, path: Path, baseline: Path | None, data: Arrays) -> tuple[ModelFacts, None]:
    """Each output on the arrays; a baseline is run here again, so that no outputs travel."""
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
