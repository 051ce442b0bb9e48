"""The stage `auto`: try the methods, cheapest first, and ship the first file that keeps all budgets."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from typing_extensions import Self

from pipeline.core import units
from pipeline.core.errors import Fault, PlacedFault, StageError
from pipeline.data.tasks.task import Task
from pipeline.keras.layer_choice import unmatched
from pipeline.keras.pruning.channels import COUNTED, wiring
from pipeline.keras.surgery.flat import flat
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
    """Try a ladder of methods (rungs) in turn, and stop at the first whose file keeps every budget with confidence.

    Each rung is a sequence of ordinary stages. Its file is the same, byte for byte, as if a config listed these stages;
    the report names them. Files are judged on the validation split, against the float32 file of the same model; the
    test split is left to verify. If no rung keeps all budgets, the stage fails and names the nearest miss. A rung that
    can't help is skipped: if the file of plain quantization is far too large, so is that of quantization-aware
    training.

    The rungs: `ptq` quantizes after training. `percentile`, `mse` and `kl` do the same with another estimator of
    activation ranges. `equalized` equalises channels first and corrects biases afterwards. `keep_int16` and
    `keep_float` keep the most sensitive layers at int16 or float32. `qat` is quantization-aware training; `pqat` prunes
    before it, `channel_qat` removes channels before it, and `distilled_qat` learns from a teacher during it. `qat4` and
    `distilled_qat4` do so with 4-bit weights. Every rung that trains uses the training settings of this stage.
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
        """Return this stage with the settings of the file and the memory budgets resolved from the target."""
        aimed = convert(self).aimed_at(target)
        given = {name: getattr(aimed, name) for name in ("io", "per_channel_dense", "kernels")}
        budgets = self.from_target(target) if target else {}
        stage = self.model_copy(update=given | budgets)
        stage._aimed = {**aimed.aimed, **dict.fromkeys(budgets, target.name if target else "")}
        return stage

    def unmatched(self, model: KerasModel) -> Iterator[PlacedFault]:
        yield from unmatched(model, {"keep_8": self.keep_8})

    def examine(self, model: KerasModel) -> Iterator[PlacedFault | str]:
        """Yield budgets that no rung can keep, whatever the weights."""
        network = flat(model)
        wired = wiring(network)
        macs = wired.total_macs(wired.all)
        shrinks = {check for name in self.rungs for check in RUNGS[name].shrinks}
        if "macs" in shrinks:
            yield from self._out_of_reach(network, macs)
            return
        values = sum(wired.parameters(each, wired.all) for each in network.layers if type(each).__name__ in COUNTED)
        each, of = (values // 2, "half a byte") if "size" in shrinks else (values, "a byte")
        for setting, limit, least, what in (
            ("max_macs", self.max_macs, macs, f"{units.count(macs)} multiply-accumulates"),
            ("max_bytes", self.max_bytes, each, f"{units.count(values)} weights, of {of} each"),
        ):
            if limit is not None and limit < least:
                received = f"{limit}, and the network has {what}"
                yield (setting,), Fault("these rungs make no network smaller", received=received, do="add channel_qat")

    def _out_of_reach(self, network: KerasModel, macs: int) -> Iterator[PlacedFault]:
        """Yield what removing channels can't achieve."""
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
        shutil.copyfile(keras.keras, work / KERAS)  # verify compares the file with the model it was made from
        _tell(work, chain, facts)


def _tell(work: Path, made: Sequence[Artifact], ladder: LadderFacts) -> None:
    """Write the facts of the chosen rung's stages, merged into those of one stage, together with the ladder."""
    told = [(artifact.name, read_facts(artifact.path)) for artifact in made]
    curves = [facts["curves"] for _, facts in told if facts["curves"]]
    kept: dict[str, Any] = {name: {} for name in ("sparsity", "clusters", "pruned", "clustered")}
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
