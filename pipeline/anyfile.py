"""Verify .tflite files that any tool made: the facts, the checks, and no store.

The files are untrusted, so everything native runs in processes of its own, with limits of time and memory.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from pipeline import child, config, contract, measure, mistakes
from pipeline.checks import AnyCheck
from pipeline.checks.check import Check
from pipeline.data import AnyData
from pipeline.data.digits import Digits
from pipeline.data.npz import Npz
from pipeline.errors import ConfigError, Fault
from pipeline.facts import CheckResult, ModelFacts
from pipeline.report.build import environment
from pipeline.report.document import DataFacts, Report, Split
from pipeline.stage import Data, Strict
from pipeline.stages.device import Asked, asked
from pipeline.targets import AnyTarget
from pipeline.task import Task

LIMITS = child.Limits(seconds=900, memory=8 << 30)  # of one file: a model that a small device is to run needs far less


class Examples(Strict):
    """A YAML file for --data."""

    data: AnyData
    """Where the examples come from, as in a config file."""


class Promises(Strict):
    """A YAML file for --checks."""

    target: AnyTarget | None = None
    """The device: its checks are run too."""
    checks: Annotated[tuple[AnyCheck, ...], Field(strict=False)] = ()
    """What must hold for the file."""

    def all(self) -> tuple[Check, ...]:
        return (*self.checks, *(self.target.checks() if self.target else ()))


def load_data(spec: str) -> Data:
    """`digits`, an .npz file, or a YAML file with `data:`."""
    path = Path(spec)
    if spec == "digits":
        return Digits()
    if path.suffix == ".npz":
        return Npz(source="npz", path=path)
    if path.suffix in (".yaml", ".yml"):
        return config.load_as(Examples, path).data
    raise ConfigError(Fault("must be digits, an .npz file or a YAML file with `data:`", where="--data", received=spec))


def verify(model: Path, data: Data | None, baseline: Path | None, promises: Promises) -> Report:
    """The report of one file: facts, figures on the test split where data is given, and checks.

    Raises InputError for a file that is none or that its data does not fit, StageError when a runtime crashes.
    """
    if data is not None:
        _refuse(promises.all(), data.spec().task)
    device = asked(promises.all())
    calls = [(_measure, path, path.stem, data, device) for path in (model, baseline) if path is not None]
    (facts, verdicts), *rest = child.gather(f"the verification of {model}", calls, LIMITS)
    models = [facts]
    if rest:
        base, base_verdicts = rest[0]
        base = base.model_copy(update={"baseline": True, "name": _other(base.name, facts.name)})
        if data is not None:
            test = data.split("test")
            _, y = test.batch(np.arange(len(test)))
            facts = measure.against(facts, base, verdicts, base_verdicts, y)
        models = [base, facts]
    checks = tuple(_judged(promises.all(), facts, models[0] if rest else None))
    return Report(
        name=model.stem,
        status="pass" if all(check.status == "pass" for check in checks) else "fail",
        environment=environment(),
        config={},
        data=_data(data),
        steps=(),
        models=tuple(models),
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


def _measure(send: child.Send, path: Path, name: str, data: Data | None, device: Asked) -> None:
    """What the child process does: sends the facts and, for each test example, what is compared."""
    facts = measure.read(name, path).model_copy(update={"file": path.name})
    verdicts = None
    if data is not None:
        contract.require(facts.contract, data.contract(), str(path))
        test, spec = data.split("test"), data.spec()
        x, y = test.batch(np.arange(len(test)))
        facts, _, verdicts = measure.run(facts, path, x, y, spec, test.sha256)
        facts = facts.model_copy(update={"mistakes": mistakes.measure(path, data)})
    send((facts.model_copy(update=device.measure(path)), verdicts))


def _data(data: Data | None) -> DataFacts:
    if data is None:
        return DataFacts(fingerprint="", labels=(), splits={})
    test = data.split("test")
    splits = {"test": Split(examples=len(test), sha256=test.sha256)}
    spec = data.spec()
    return DataFacts(fingerprint=data.fingerprint(), task=spec.task.name, labels=spec.labels, splits=splits)
