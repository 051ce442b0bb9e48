"""Try the methods from the cheapest on, and ship the first file that keeps all budgets."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from typing_extensions import Self

from pipeline import surgery, units
from pipeline.channels import COUNTED, wiring
from pipeline.errors import Fault, StageError
from pipeline.ladder import LadderFacts
from pipeline.models.file import File
from pipeline.stage import Artifact, Inputs
from pipeline.stages.budgets import Budgets
from pipeline.stages.calibration import Calibration
from pipeline.stages.climb import Climb, nearest_miss
from pipeline.stages.follower import Finding
from pipeline.stages.rungs import RUNGS, RungName, convert, fewer_channels
from pipeline.stages.sidecar import read_facts, write_facts
from pipeline.stages.teacher import Taught
from pipeline.stages.verify import Verify
from pipeline.targets import Target
from pipeline.task import Task

if TYPE_CHECKING:
    import tf_keras

INTEGER: tuple[RungName, ...] = tuple(name for name in RUNGS if name != "keep_float")
Part = Annotated[float, Field(gt=0, lt=1)]


class Auto(Budgets, Taught):
    """The ladder: makes a file by each rung in turn, and stops at the first that keeps every budget with confidence.

    A rung is what a config would write as stages, so its file is theirs, byte for byte; the report names them. The
    validation split decides, against the float32 file of the same model; the test split is left to verify. When no
    rung keeps all budgets, the stage fails with the nearest miss. A rung that can't help is skipped: where plain
    quantization is far too large, training it makes it no smaller.

    `ptq` quantizes after training; `percentile`, `mse` and `kl` do with other ranges; `equalized` equalises channels
    before that and corrects biases behind it; `keep_int16` and `keep_float` leave the layers that a ranking says suffer
    most at 16 bits or in float. `qat` trains quantization-aware; `pqat` prunes before that; `distilled_qat` learns from
    a teacher meanwhile; `channel_qat` removes channels before that. The settings of training are those of every rung
    that trains.
    """

    takes = "keras"
    gives = "tflite"
    libraries = (*Verify.libraries, "tensorflow-model-optimization")  # type: ignore[assignment]  # any number of them
    not_behind: ClassVar[Mapping[str, str]] = {"qat": "that is one of its rungs"}
    only_float32 = "tfmot rounds weights and activations in float32 alone"

    stage: Literal["auto"]
    rungs: Annotated[tuple[RungName, ...], Field(strict=False, min_length=1)] = INTEGER
    """What to try, in this order; all but `keep_float`, whose file is not integer-only, when left out."""
    worst: PositiveInt = 2
    """Layers that `keep_int16` and `keep_float` keep, of a ranking that they make first."""
    epochs: PositiveInt = 10
    """Passes over the training split of each stage that trains."""
    learning_rate: PositiveFloat = 5e-4
    """At the start, or after a warm-up."""
    teacher: str | File | None = None
    """Who teaches in `distilled_qat`: a stage above, or a model file; the model itself, in float, when left out."""
    sparsity: Part = 0.5
    """Share of zeros that `pqat` prunes to."""
    keep_macs: Part | None = None
    """Share of the multiply-accumulates that `channel_qat` leaves; what max_macs asks, or 0.6, when left out."""
    io: Literal["int8", "uint8", "float32"] | None = None
    """Type of the file's inputs and outputs; int8, or what the run's target takes, when left out."""
    calibration: Calibration | None = None
    """What activation ranges come from; 200 examples when left out."""
    per_channel: bool = True
    """A scale for each channel of the weights, or one for all of a layer's, as some accelerators demand."""
    per_channel_dense: bool | None = None
    """As of a convert stage."""

    @model_validator(mode="after")
    def _rungs_fit(self) -> "Auto":
        if len(set(self.rungs)) < len(self.rungs):
            raise ValueError("rungs: must name each rung once")
        if self.calibration and self.calibration.ranges != "minmax":
            raise ValueError("calibration.ranges: is what the rungs are for: name one, such as `mse`, in `rungs`")
        if not self.per_channel and self.per_channel_dense:
            raise ValueError("per_channel_dense: can't be true where per_channel is false")
        if self.teacher is not None and "distilled_qat" not in self.rungs:
            raise ValueError("teacher: needs the rung distilled_qat")
        return self

    def unfit(self, task: Task) -> Iterator[tuple[tuple[str | int, ...], Fault]]:
        yield from super().unfit(task)
        yield from self.misfits(task)

    def aimed_at(self, target: Target | None) -> Self:
        """With `io`, `per_channel_dense` and the budgets of memory resolved."""
        aimed = convert(self).aimed_at(target)
        given = {name: getattr(aimed, name) for name in ("io", "per_channel_dense")}
        budgets = self.from_target(target) if target else {}
        stage = self.model_copy(update=given | budgets)
        stage._aimed = {**aimed.aimed, **dict.fromkeys(budgets, target.name if target else "")}
        return stage

    def examine(self, model: "tf_keras.Model") -> Iterator[Finding | str]:
        """Budgets that no rung can keep, whatever the weights."""
        network = surgery.flat(model)
        wired = wiring(network)
        macs = wired.total_macs(wired.all)
        if any(RUNGS[name].shrinks for name in self.rungs):
            yield from self._out_of_reach(network, macs)
            return
        values = sum(wired.parameters(each, wired.all) for each in network.layers if type(each).__name__ in COUNTED)
        for setting, limit, least, what in (
            ("max_macs", self.max_macs, macs, f"{units.count(macs)} multiply-accumulates"),
            ("max_bytes", self.max_bytes, values, f"{units.count(values)} weights, of a byte each"),
        ):
            if limit is not None and limit < least:
                received = f"{limit}, and the network has {what}"
                yield (setting,), Fault("these rungs make no network smaller", received=received, do="add channel_qat")

    def _out_of_reach(self, network: "tf_keras.Model", macs: int) -> Iterator[Finding]:
        """What removing channels can't do."""
        beyond = self.max_macs is not None and self.max_macs < macs
        if beyond and self.keep_macs and self.keep_macs * macs > (self.max_macs or 0):
            received = f"{self.keep_macs:g} of {units.count(macs)}, and max_macs is {self.max_macs}"
            yield ("keep_macs",), Fault("must not leave more than max_macs", received=received, do="leave it out")
        elif beyond or self.keep_macs:
            for each in fewer_channels(self, macs).examine(network):
                if not isinstance(each, str):
                    rule = f"is out of reach for channel_qat: {each[1].rule}"
                    place = "keep_macs" if self.keep_macs else "max_macs"
                    yield (place,), Fault(rule, received=each[1].received, do=f"raise {place}")

    def run(self, inputs: Inputs, work: Path) -> None:
        climb = Climb(self, inputs)
        rungs = list(climb.rungs())
        if rungs[-1].status != "met":
            raise StageError(nearest_miss(rungs))
        facts = climb.facts(rungs)
        chain = climb.chain(self.rungs[len(rungs) - 1])
        shutil.copyfile(chain[-1].path / "model.tflite", work / "model.tflite")
        keras = chain[-2] if len(chain) > 1 else inputs.source
        shutil.copyfile(keras.path / "model.h5", work / "model.h5")  # what the file was converted from, for verify
        _tell(work, chain, facts)


def _tell(work: Path, made: Sequence[Artifact], ladder: LadderFacts) -> None:
    """What the stages of the chosen rung tell, as one stage, with the ladder."""
    told = [(artifact.name, read_facts(artifact.path)) for artifact in made]
    curves = [facts["curves"] for _, facts in told if facts["curves"]]
    kept: dict[str, Any] = {name: {} for name in ("sparsity", "clusters")}
    for name, values in kept.items():
        for _, facts in told:
            values.update(facts.get(name, {}))
    write_facts(
        work,
        curves[-1] if curves else None,
        [row for _, facts in told for row in facts["layers"]],
        [f"{name}: {note}" for name, facts in told for note in facts["notes"]],
        calibration=told[-1][1]["calibration"],
        ladder=ladder.model_dump(mode="json"),
        **kept,
    )
