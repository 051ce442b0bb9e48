"""Make and measure the rungs of an auto stage in turn, up to the first whose file keeps all budgets."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.core import units
from pipeline.core.errors import Fault, StageError, StoreError
from pipeline.core.progress import Progress
from pipeline.data.spec import Spec
from pipeline.data.tasks.task import Truth
from pipeline.keras import normalization, tf
from pipeline.keras.surgery import rewrite
from pipeline.keras.surgery.flat import flat
from pipeline.stages.convert import Convert
from pipeline.stages.ladder.budgets import excess
from pipeline.stages.ladder.facts import LadderFacts, RungFacts
from pipeline.stages.ladder.rungs import RUNGS, TEACHER, Network
from pipeline.stages.ladder.settings import Ladder, RungName
from pipeline.stages.stage import Artifact, Inputs, Stage
from pipeline.stages.step import identity
from pipeline.verify import measurement
from pipeline.verify.device import Asked
from pipeline.verify.interpreters import litert
from pipeline.verify.model_facts import CheckResult, ModelFacts
from pipeline.verify.scoring.scoring import SCORING, Verdicts

TURNS, RUNS = 20, 20  # turns in which latencies are compared, and inferences of each file per turn
SLACK = 0.1  # excess over a limit, as a share of it, above which no other file of the same network can keep the limit


class _Validation(NamedTuple):
    """The validation split: examples x (N, ...), labels or values y (N, ...), and their description."""

    x: NDArray[np.float32]
    y: Truth
    spec: Spec
    sha256: str

    def verdicts(self, path: Path) -> Verdicts:
        """The verdicts of a file on each example, (N,)."""
        outputs = litert.run(path, self.x)
        return SCORING[self.spec.task.name].verdicts(self.spec.task.rows(outputs, self.spec), self.x, self.y)

    def score(self, verdicts: Verdicts) -> float | None:
        return SCORING[self.spec.task.name].main(verdicts, self.y)


class Climb:
    """The rungs of an auto stage.

    The results of their stages are in the store, under the same keys as in a config. So a rung is not made again after
    an interruption or with other budgets.
    """

    def __init__(self, auto: Ladder, inputs: Inputs) -> None:
        self.auto, self.inputs = auto, inputs
        split, spec = inputs.data.split("validation"), inputs.data.spec()
        x, y = split.batch(np.arange(len(split)))
        if spec.task.decides and (fault := auto.too_few(len(split))):
            raise StageError(replace(fault, field=f"stages.{auto.label}.max_drop"))
        self._data = inputs.data.identity()
        self._seconds: dict[str, float] = {}  # key of a store entry -> time it took to make
        self.validation = _Validation(x, y, spec, split.sha256)
        self.float32 = self._made(Convert(stage="convert", quantization="float32"), inputs.source, "float32")
        self.base = self.validation.verdicts(self.float32.tflite)

    @cached_property
    def network(self) -> Network:
        """What the rungs go by, of the network that the stage reads."""
        macs = measurement.read("float32", self.float32.tflite).macs or 0
        trained = rewrite.quantizable(flat(tf.load_model(self.inputs.source.keras))).model
        return Network(macs, any(not why for why in normalization.reasons(trained).values()))

    def rungs(self) -> Iterator[RungFacts]:
        """Try the rungs in order, and yield the facts of each, up to the first that keeps every budget."""
        hopeless: dict[str, str] = {}
        for done, name in enumerate(self.auto.rungs, start=1):
            if beyond := hopeless.keys() - RUNGS[name].shrinks:
                yield RungFacts(rung=name, status="skipped", why=hopeless[min(beyond)])
                continue
            facts = self._kept(name)
            self.inputs.report(Progress(f"{name} {facts.status}: rung", done, len(self.auto.rungs), kept=True))
            yield facts
            if facts.status == "met":
                return
            if not RUNGS[name].shrinks and not hopeless:
                hopeless = _hopeless(facts)

    def chain(self, name: RungName) -> list[Artifact]:
        """The results of a rung's stages, in order; made unless they are in the store."""
        made, above = [], self.inputs.source
        for stage in RUNGS[name].stages(self.auto, self.network):
            above = self._made(stage, above, name)
            made.append(above)
        return made

    def facts(self, rungs: Sequence[RungFacts]) -> LadderFacts:
        chosen, left = rungs[-1].rung, self.auto.rungs[len(rungs) :]
        more = f"; not tried: {', '.join(left)}" if left else ""
        return LadderFacts(
            metric=self.validation.spec.task.main,
            examples=len(self.validation.y),
            split_sha256=self.validation.sha256,
            score=self.validation.score(self.base),
            confidence=self.auto.confidence,
            each=self.auto.each,
            rungs=tuple(rungs),
            chosen=chosen,
            stopped=f"{chosen} is the first rung that keeps every budget{more}",
        )

    def _kept(self, name: RungName) -> RungFacts:
        """The facts of a rung, from a file if there is one: latencies measured again after a restart would differ."""
        path = self.inputs.resume / f"{name}.json"
        if path.is_file():
            return RungFacts.model_validate_json(path.read_bytes())
        facts = self._tried(name)
        fresh = path.with_suffix(".new")
        fresh.write_text(facts.model_dump_json(), encoding="utf-8")
        fresh.rename(path)
        return facts

    def _tried(self, name: RungName) -> RungFacts:
        settings = tuple(stage.settings() for stage in RUNGS[name].stages(self.auto, self.network))
        try:
            made = self.chain(name)
            path = made[-1].tflite
            measured = self._measured(name, path)
        except StoreError:
            raise
        except StageError as error:
            return RungFacts(rung=name, status="failed", why=error.faults[0].reason, stages=settings)
        ratios = _ratios(path, self.float32.tflite, self.validation.x) if self._timed else ()
        budgets = self.auto.judge(measured, ratios)
        missed = [result for result in budgets if result.status != "pass"]
        return RungFacts(
            rung=name,
            status="missed" if missed else "met",
            why="; ".join(map(_miss, missed)),
            stages=settings,
            seconds=sum(self._seconds[artifact.key] for artifact in made),
            score=measured.metrics.get(self.validation.spec.task.main),
            paired=measured.paired,
            bytes=measured.bytes,
            arena=measured.arena.smallest if measured.arena else None,
            macs=measured.macs,
            latency_ratios=ratios,
            budgets=budgets,
        )

    @property
    def _timed(self) -> bool:
        return self.auto.max_latency_ratio is not None

    def _measured(self, name: str, path: Path) -> ModelFacts:
        """The facts of a file: size, ops, arena, and the comparison with the float32 file on the validation split."""
        task, y = self.validation.spec.task, self.validation.y
        verdicts = self.validation.verdicts(path)
        paired = SCORING[task.name].paired(self.base, verdicts, y, self.validation.spec.labels, self.auto.each)
        score = self.validation.score(verdicts)
        more = {"paired": paired, "metrics": {} if score is None else {task.main: score}}
        return measurement.read(name, path).model_copy(update=more | Asked(None).measure(path))

    def _made(self, stage: Stage, above: Artifact, rung: str) -> Artifact:
        """The result of a stage of a rung, from the store if it is there."""
        given = {above.name: above} | ({TEACHER: self._teacher} if stage.reads_beside() else {})
        needs = [each.key for each in given.values()]
        decides = identity(stage, needs, self._data, None, self.inputs.seed, self.validation.spec.task.name)
        entry, _ = self.inputs.executor.make(stage, decides, given, self._hear(rung))
        self._seconds[entry.key] = entry.seconds
        return Artifact(stage.label, stage.gives, entry.path, above, entry.key)

    @property
    def _teacher(self) -> Artifact:
        name = self.auto.teacher
        return self.inputs.upstream[name] if isinstance(name, str) else self.inputs.source

    def _hear(self, rung: str) -> Callable[[Progress], None]:
        """The progress report of a stage of a rung, with the rung's name added."""
        return lambda progress: self.inputs.report(replace(progress, what=f"{rung}: {progress.what}"))


def _ratios(path: Path, base: Path, x: NDArray[np.float32]) -> tuple[float, ...]:
    """Median latencies divided by those of `base`, one per turn; alternating turns expose both to the same load."""
    one, other = litert.Runner(path), litert.Runner(base)
    turns = ((runner.latency(x[:1], RUNS, 2).p50 for runner in (one, other)) for _ in range(TURNS))
    return tuple(own / theirs for own, theirs in turns)


def _hopeless(facts: RungFacts) -> dict[str, str]:
    """Check of a budget -> why no rung can keep it that does not make the file smaller in that."""
    return {
        result.check: f"{facts.rung} misses by far: {_miss(result)}; a network of the same size does too"
        for result in facts.budgets
        if result.check in ("size", "arena", "macs") and SLACK < excess(result, None) < np.inf
    }


def _miss(result: CheckResult) -> str:
    """A result in words, as ``file size 35.2 KiB, at most 32.0 KiB``, or the reason why it is unavailable."""
    if result.value is None:
        return f"{result.what}: {result.why}"
    value, limit = (units.measure(figure, result.unit) for figure in (result.value, result.limit))
    told = f" ({result.why})" if result.check == "drop" else ""
    return f"{result.what} {value}, {result.bound} {limit}{told}"


def nearest_miss(rungs: Sequence[RungFacts]) -> Fault:
    """The fault if no rung keeps all budgets: it names the one with the smallest excess, then lists all."""
    measured = [facts for facts in rungs if facts.budgets]
    table = "\n    ".join(["the rungs:", *(f"{facts.rung} {facts.status}: {facts.why}" for facts in rungs)])
    if not measured:
        return Fault("no rung makes a file", do=table)
    nearest = min(measured, key=lambda facts: max(excess(result, facts.paired) for result in facts.budgets))
    return Fault("no rung keeps every budget", received=f"nearest is {nearest.rung}: {nearest.why}", do=table)
