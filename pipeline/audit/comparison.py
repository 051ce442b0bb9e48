"""Compare two run folders: what changed in each model, and whether a change exceeds a limit."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import ValidationError

from pipeline.audit.run_folder import MOST_BYTES
from pipeline.core import regular_file, units
from pipeline.core.errors import ConfigError, Fault, InputError, did_you_mean
from pipeline.data.tasks.task import TASKS
from pipeline.report import decisions, phrases
from pipeline.report.document import Report
from pipeline.verify.model_facts import CheckResult, Facts, LayerFacts, ModelFacts
from pipeline.verify.scoring.metrics import METRICS
from pipeline.verify.verdict import title

# Name of each limit -> the figure that it limits.
LIMITS = {
    "drop": "how much worse the main metric is in B: accuracy or auc as a fraction, mae in its unit",
    "flips": "share of test examples with another decision",
    "bytes": "file size, B over A",
    "gzip": "size after gzip, B over A",
    "macs": "multiply-accumulates, B over A",
    "arena": "smallest arena on TFLM, B over A",
    "checks": "checks that passed in A and do not in B, a count",
}

FIELDS = ("op", "shape", "dtype", "weights_shape", "weights_dtype", "weights_scales")  # fields of a layer to compare


class Difference(Facts):
    """One model in run A and run B, as pairs (A, B). A figure that a run does not have is None."""

    model: str
    same_bytes: bool
    accuracy: tuple[float | None, float | None]
    metric: str  # the task's main metric
    score: tuple[float | None, float | None]
    flips: int | None
    examples: int | None
    bytes: tuple[int, int]
    gzip: tuple[int, int]
    macs: tuple[int | None, int | None]
    arena: tuple[int | None, int | None]
    ops: dict[str, int]  # op -> count in B minus count in A, unless zero
    layers: tuple[str, ...]  # changes, one sentence each
    checks: tuple[str, ...]  # checks that passed in A and did not pass in B

    def figures(self) -> dict[str, float | None]:
        """The figures that LIMITS names."""
        before, after = self.score
        sign = -1 if METRICS[self.metric].lower_is_better else 1
        return {
            "drop": None if before is None or after is None else sign * (before - after),
            "flips": self.flips / self.examples if self.flips is not None and self.examples else None,
            "bytes": self.bytes[1] / self.bytes[0],
            "gzip": self.gzip[1] / self.gzip[0],
            "macs": _ratio(self.macs),
            "arena": _ratio(self.arena),
            "checks": float(len(self.checks)),
        }


class Comparison(NamedTuple):
    """What changed from run A to run B.

    models  those that both runs have
    lost    names of the models that only A has; new: those that only B has
    apart   what the runs do not share, so that their figures are of different things, one sentence each
    """

    models: tuple[Difference, ...]
    lost: tuple[str, ...]
    new: tuple[str, ...]
    apart: tuple[str, ...]


def load(folder: Path) -> Report:
    """Read the report of a run folder, or a report.json. Raises InputError for anything else."""
    path = folder / "report.json" if folder.is_dir() else folder
    try:
        return Report.model_validate_json(regular_file.read(path, MOST_BYTES))
    except OSError as error:
        raise InputError(Fault("no report can be read", where=str(path), received=error.strerror or "")) from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        received = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise InputError(
            Fault("is no report of this version of edgepipe", where=str(path), received=received)
        ) from None


def compare(a: Path, b: Path) -> Comparison:
    """Compare two runs, models by name. Raises InputError when they have no model in common or the tasks differ."""
    first, second = load(a), load(b)
    before, after = ({model.name: model for model in report.models} for report in (first, second))
    shared = [name for name in before if name in after]
    if not shared:
        raise InputError(
            Fault("the runs have no model in common", received=f"{', '.join(before)} and {', '.join(after)}")
        )
    if first.data.task != second.data.task:
        received = f"{first.data.task} and {second.data.task}"
        raise InputError(Fault("the runs must be of one task", received=received))
    flips, metric = _flips(a, b), TASKS[first.data.task].main
    models = (
        _difference(metric, before[name], after[name], _broken(first, second, name), flips.get(name)) for name in shared
    )
    lost, new = (tuple(name for name in one if name not in other) for one, other in ((before, after), (after, before)))
    return Comparison(tuple(models), lost, new, tuple(_apart(first, second)))


def _apart(a: Report, b: Report) -> Iterator[str]:
    """Yield what the data of two runs differ in."""
    if a.data.labels != b.data.labels:
        yield "the labels differ"
    test = [report.data.splits["test"].sha256 for report in (a, b) if "test" in report.data.splits]
    if len(test) == 2 and test[0] != test[1]:
        yield "the test splits hold other examples, so metrics are not comparable"
    elif a.data.fingerprint != b.data.fingerprint:
        yield "the data differ outside of the test split"


def parse_limits(texts: Sequence[str]) -> dict[str, float]:
    """Parse ``["drop=0.005", "bytes=1.02"]`` into a mapping. Raises ConfigError with every fault."""
    limits, faults = {}, []
    for text in texts:
        name, _, value = text.partition("=")
        where = f"--fail-on {text}"
        try:
            limits[name] = float(value)
        except ValueError:
            faults.append(Fault("must be a name, `=` and a number", where=where, do="such as drop=0.005"))
        if name not in LIMITS:
            faults.append(Fault("there is no such limit", where=where, received=name, do=did_you_mean(name, LIMITS)))
    if faults:
        raise ConfigError(*faults)
    return limits


def exceeded(found: Comparison, limits: Mapping[str, float]) -> Iterator[str]:
    """Yield a sentence for each limit that a model exceeds, or whose figure was not measured in both runs.

    A check that no longer passes is one too many where no limit of `checks` says otherwise. Under any limit, a model
    that is gone exceeds it.
    """
    if limits:
        yield from (f"{name}: is in run A only, so no limit can be judged" for name in found.lost)
    limits = {"checks": 0.0, **limits}
    for difference in found.models:
        figures = difference.figures()
        for name, limit in limits.items():
            value = figures[name]
            if value is None:
                yield f"{difference.model}: {name} was not measured in both runs, and the limit is {limit:g}"
            elif value > limit + 1e-12:
                yield f"{difference.model}: {name} is {value:.4g}, and the limit is {limit:g} ({LIMITS[name]})"


def _ratio(pair: tuple[int | None, int | None]) -> float | None:
    before, after = pair
    return after / before if before and after is not None else None


def _difference(
    metric: str, a: ModelFacts, b: ModelFacts, broken: Sequence[str], flips: tuple[int, int] | None
) -> Difference:
    ops = Counter(b.ops)
    ops.subtract(a.ops)
    return Difference(
        model=a.name,
        same_bytes=a.sha256 == b.sha256,
        accuracy=(a.metrics.get("accuracy"), b.metrics.get("accuracy")),
        metric=metric,
        score=(a.metrics.get(metric), b.metrics.get(metric)),
        flips=flips[0] if flips else None,
        examples=flips[1] if flips else None,
        bytes=(a.bytes, b.bytes),
        gzip=(a.gzip_bytes, b.gzip_bytes),
        macs=(a.macs, b.macs),
        arena=(a.arena.smallest if a.arena else None, b.arena.smallest if b.arena else None),
        ops={name: count for name, count in sorted(ops.items()) if count},
        layers=tuple(_changed(a.layers, b.layers)),
        checks=tuple(broken),
    )


def _broken(a: Report, b: Report, model: str) -> list[str]:
    """Names of a model's checks that passed in A and do not pass in B; not those that B does not have."""
    before, after = (_promises([check for check in report.checks if check.model == model]) for report in (a, b))
    return [
        phrases.promise(after[key])
        for key, check in before.items()
        if check.status == "pass" and key in after and after[key].status != "pass"
    ]


def _promises(checks: Sequence[CheckResult]) -> dict[tuple[str, str, int], CheckResult]:
    """Checks by what they promise, whatever runtime decided, and the how manieth of that promise they are."""
    found: dict[tuple[str, str, int], CheckResult] = {}
    for check in checks:
        what = check.what.replace(f" on {title(check.runtime)}", "") if check.runtime else check.what
        number = sum((check.check, what) == key[:2] for key in found)
        found[check.check, what, number] = check
    return found


def _changed(a: Sequence[LayerFacts], b: Sequence[LayerFacts]) -> Iterator[str]:
    """Yield a sentence for each difference between layers, matched by name and then by order."""
    before, after = _by_name(a), _by_name(b)
    for key in (key for key in before if key not in after):
        yield f"{before[key].name}: {before[key].op} is gone"
    for key in (key for key in after if key not in before):
        yield f"{after[key].name}: {after[key].op} is new"
    for key in (key for key in before if key in after):
        old, new = before[key], after[key]
        said = [
            f"{field} {getattr(old, field)} -> {getattr(new, field)}" for field in FIELDS if _differs(old, new, field)
        ]
        if old.scale and new.scale and abs(new.scale / old.scale - 1) > 0.01:
            said.append(f"scale {units.number(old.scale)} -> {units.number(new.scale)}")
        if abs((new.sparsity or 0) - (old.sparsity or 0)) > 0.01:
            said.append(f"zeros {units.percent(old.sparsity)} -> {units.percent(new.sparsity)}")
        if said:
            yield f"{new.name}: {', '.join(said)}"


def _differs(old: LayerFacts, new: LayerFacts, field: str) -> bool:
    return bool(getattr(old, field) != getattr(new, field))


def _by_name(layers: Sequence[LayerFacts]) -> dict[tuple[str, int], LayerFacts]:
    seen: Counter[str] = Counter()
    found = {}
    for layer in layers:
        found[layer.name, seen[layer.name]] = layer
        seen[layer.name] += 1
    return found


def _flips(a: Path, b: Path) -> dict[str, tuple[int, int]]:
    """Model -> (flips, examples). Empty unless both run folders hold decisions on the same test split."""
    first, second = _decisions(a), _decisions(b)
    if first is None or second is None or first.split != second.split or len(first.y) != len(second.y):
        return {}
    pairs = {name: (decided, second.models[name]) for name, decided in first.models.items() if name in second.models}
    return {
        name: (int(np.sum(one != other)), len(one)) for name, (one, other) in pairs.items() if one.dtype.kind == "i"
    }


def _decisions(folder: Path) -> decisions.Decisions | None:
    try:
        return decisions.read((folder if folder.is_dir() else folder.parent) / decisions.FILE)
    except InputError:
        return None


def as_json(found: Comparison, broken: Sequence[str]) -> str:
    """The comparison and the exceeded limits as one JSON document."""
    rows = [difference.model_dump(mode="json") for difference in found.models]
    more = {"lost": found.lost, "new": found.new, "apart": found.apart}
    document = {"status": "fail" if broken else "pass", "models": rows, **more, "exceeded": list(broken)}
    return json.dumps(document, indent=2)
