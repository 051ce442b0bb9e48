"""Try the methods from the cheapest on, and ship the first file that keeps all budgets."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from typing_extensions import Self

from pipeline.core import units
from pipeline.core.errors import Fault, PlacedFault, StageError
from pipeline.data.tasks.task import Task
from pipeline.keras.pruning.channels import COUNTED, wiring
from pipeline.keras.surgery import graph
from pipeline.keras.types import KerasModel
from pipeline.stages.ladder.climb import Climb, nearest_miss
from pipeline.stages.ladder.facts import LadderFacts
from pipeline.stages.ladder.rungs import RUNGS, convert, fewer_channels
from pipeline.stages.ladder.settings import Ladder
from pipeline.stages.sidecar import read_facts, write_facts
from pipeline.stages.stage import KERAS, TFLITE, Artifact, Inputs

if TYPE_CHECKING:
    from pipeline.verify.targets import Target


class Auto(Ladder):
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
    scores = True
    libraries = (
        "ai-edge-litert",
        "tflite-micro",
        "tensorflow",
        "tf_keras",
        "tensorflow-model-optimization",
        "numpy",
        "scikit-learn",
    )

    stage: Literal["auto"]

    def unfit(self, task: Task) -> Iterator[PlacedFault]:
        yield from super().unfit(task)
        yield from self.misfits(task)

    def aimed_at(self, target: "Target | None") -> Self:
        """With `io`, `per_channel_dense` and the budgets of memory resolved."""
        aimed = convert(self).aimed_at(target)
        given = {name: getattr(aimed, name) for name in ("io", "per_channel_dense")}
        budgets = self.from_target(target) if target else {}
        stage = self.model_copy(update=given | budgets)
        stage._aimed = {**aimed.aimed, **dict.fromkeys(budgets, target.name if target else "")}
        return stage

    def examine(self, model: KerasModel) -> Iterator[PlacedFault | str]:
        """Budgets that no rung can keep, whatever the weights."""
        network = graph.flat(model)
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

    def _out_of_reach(self, network: KerasModel, macs: int) -> Iterator[PlacedFault]:
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
        shutil.copyfile(chain[-1].tflite, work / TFLITE)
        keras = chain[-2] if len(chain) > 1 else inputs.source
        shutil.copyfile(keras.keras, work / KERAS)  # what the file was converted from, for verify
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
