"""The rungs of the ladder: each a way to make a file, as the stages that a config would name, the cheapest first."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pipeline.facts import ModelFacts
from pipeline.models.file import File
from pipeline.stage import Stage
from pipeline.stages.channel_prune import ChannelPrune
from pipeline.stages.convert import Convert
from pipeline.stages.equalize import Equalize
from pipeline.stages.prune import Prune
from pipeline.stages.qat import Qat
from pipeline.stages.training import Training

if TYPE_CHECKING:
    from pipeline.stages.auto import Auto

RungName = Literal["ptq", "equalized", "qat", "pqat", "distilled_qat", "channel_qat"]

TEACHER = "(teacher)"  # what a rung's stages call the stage that they learn from: no stage of a config can
KEEP_MACS = 0.6  # where no budget says fewer
ROOM = 0.98  # of max_macs that channels are pruned to: a file can have a few products more than its Keras layers


class Rung(NamedTuple):
    """How a file is made.

    stages   from the settings and what the float32 file is
    shrinks  whether it has fewer multiply-accumulates than plain quantization, and so a smaller file and arena
    """

    stages: "Callable[[Auto, ModelFacts], tuple[Stage, ...]]"
    shrinks: bool = False


def convert(auto: "Auto", **more: Any) -> Convert:
    """The conversion to int8 that ends a rung."""
    settings = {name: getattr(auto, name) for name in ("io", "calibration", "per_channel_dense")}
    return Convert(stage="convert", quantization="int8", **settings, **more)


def _training(auto: "Auto") -> dict[str, Any]:
    """The settings that the auto stage shares with all that trains."""
    return {name: getattr(auto, name) for name in Training.model_fields if name not in Stage.model_fields}


def _qat(auto: "Auto", **more: Any) -> Qat:
    return Qat(stage="qat", **_training(auto), **more)


def _distilled(auto: "Auto") -> Qat:
    teacher = auto.teacher if isinstance(auto.teacher, File) else TEACHER
    return _qat(auto, teacher=teacher, temperature=auto.temperature, alpha=auto.alpha)


def _pruned(auto: "Auto") -> Prune:
    return Prune(stage="prune", sparsity=auto.sparsity, **_training(auto))


def _fewer_channels(auto: "Auto", source: ModelFacts) -> ChannelPrune:
    asked = ROOM * auto.max_macs / source.macs if auto.max_macs and source.macs else 1.0
    share = auto.keep_macs or (asked if asked < ROOM else KEEP_MACS)
    return ChannelPrune(stage="channel_prune", keep_macs=share, **_training(auto))


RUNGS: dict[RungName, Rung] = {
    "ptq": Rung(lambda auto, source: (convert(auto),)),
    "equalized": Rung(lambda auto, source: (Equalize(stage="equalize"), convert(auto, bias_correction=True))),
    "qat": Rung(lambda auto, source: (_qat(auto), convert(auto))),
    "pqat": Rung(lambda auto, source: (_pruned(auto), _qat(auto), convert(auto))),
    "distilled_qat": Rung(lambda auto, source: (_distilled(auto), convert(auto))),
    "channel_qat": Rung(lambda auto, source: (_fewer_channels(auto, source), _qat(auto), convert(auto)), shrinks=True),
}
