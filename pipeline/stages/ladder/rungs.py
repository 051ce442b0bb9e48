"""The rungs of the ladder: ways to make a file, cheapest first, each as the stages that a config would list."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from pipeline.keras.conversion.calibration import Calibration
from pipeline.keras.conversion.estimators import Estimator
from pipeline.keras.models.model import Model
from pipeline.stages.channel_prune import ChannelPrune
from pipeline.stages.convert import Convert
from pipeline.stages.equalize import Equalize
from pipeline.stages.ladder.settings import Ladder, RungName
from pipeline.stages.prune import Prune
from pipeline.stages.qat import Qat
from pipeline.stages.recalibrate import Recalibrate
from pipeline.stages.sensitivity import Sensitivity
from pipeline.stages.stage import Stage
from pipeline.stages.training import Training
from pipeline.stages.worst import Worst

TEACHER = "(teacher)"  # name of the teacher in a rung's stages; no stage of a config can have this name
KEEP_MACS = 0.6  # share of the multiply-accumulates to keep if max_macs does not need fewer
ROOM = 0.98  # share of max_macs to prune to: a file can have a few more multiply-accumulates than its Keras layers


class Network(NamedTuple):
    """What rungs go by.

    macs        its multiply-accumulates
    normalised  whether batch normalisation stays in it when it is trained quantization-aware
    """

    macs: int
    normalised: bool


class Rung(NamedTuple):
    """How a file is made.

    stages   gives the stages, from the settings of `auto` and the network
    shrinks  what is smaller than after plain quantization, by the checks of the budgets
    """

    stages: Callable[[Ladder, Network], tuple[Stage, ...]]
    shrinks: frozenset[str] = frozenset()


def convert(auto: Ladder, **more: Any) -> Convert:
    """The conversion to int8 that ends a rung."""
    settings = {
        name: getattr(auto, name) for name in ("io", "calibration", "per_channel_dense", "per_channel", "kernels")
    }
    return Convert(stage="convert", quantization="int8", **settings | more)


def _ranges(auto: Ladder, estimator: Estimator) -> Convert:
    calibration = auto.calibration or Calibration()
    return convert(auto, calibration=calibration.model_copy(update={"ranges": estimator}))


def _kept(auto: Ladder, setting: Literal["keep_int16", "keep_float"]) -> tuple[Stage, ...]:
    ranking = Sensitivity(stage="sensitivity", calibration=auto.calibration)
    return ranking, convert(auto, **{setting: Worst(worst=auto.worst)})


def _training(auto: Ladder) -> dict[str, Any]:
    """The training settings of the auto stage, for a stage of a rung."""
    return {name: getattr(auto, name) for name in Training.model_fields if name not in Stage.model_fields}


def _qat(auto: Ladder, **more: Any) -> tuple[Stage, ...]:
    """The stages of a rung with qat. With one scale per layer, batch normalisation must be folded before."""
    folded = () if auto.per_channel else (Equalize(stage="equalize"),)
    return *folded, Qat(stage="qat", per_channel=auto.per_channel, **_training(auto), **more), convert(auto)


def _four_bits(auto: Ladder, network: Network, **more: Any) -> tuple[Stage, ...]:
    """The same with weights of 4 bits. Some of them change until the last step, so normalisation is estimated again."""
    *before, file = _qat(auto, weight_bits=4, keep_8=auto.keep_8, **more)
    again = (Recalibrate(stage="recalibrate"),) if auto.per_channel and network.normalised else ()
    return *before, *again, file


def _taught(auto: Ladder) -> dict[str, Any]:
    teacher = auto.teacher if isinstance(auto.teacher, Model) else TEACHER
    return {"teacher": teacher, "temperature": auto.temperature, "alpha": auto.alpha}


def _pruned(auto: Ladder) -> Prune:
    return Prune(stage="prune", sparsity=auto.sparsity, **_training(auto))


def fewer_channels(auto: Ladder, macs: int) -> ChannelPrune:
    """The stage that removes channels from a network with `macs` multiply-accumulates."""
    asked = ROOM * auto.max_macs / macs if auto.max_macs and macs else 1.0
    share = auto.keep_macs or (asked if asked < ROOM else KEEP_MACS)
    return ChannelPrune(stage="channel_prune", keep_macs=share, **_training(auto))


RUNGS: dict[RungName, Rung] = {
    "ptq": Rung(lambda auto, network: (convert(auto),)),
    "percentile": Rung(lambda auto, network: (_ranges(auto, "percentile"),)),
    "mse": Rung(lambda auto, network: (_ranges(auto, "mse"),)),
    "kl": Rung(lambda auto, network: (_ranges(auto, "kl"),)),
    "equalized": Rung(lambda auto, network: (Equalize(stage="equalize"), convert(auto, bias_correction=True))),
    "keep_int16": Rung(lambda auto, network: _kept(auto, "keep_int16")),
    "keep_float": Rung(lambda auto, network: _kept(auto, "keep_float")),
    "qat": Rung(lambda auto, network: _qat(auto)),
    "pqat": Rung(lambda auto, network: (_pruned(auto), *_qat(auto))),
    "distilled_qat": Rung(lambda auto, network: _qat(auto, **_taught(auto))),
    "channel_qat": Rung(
        lambda auto, network: (fewer_channels(auto, network.macs), *_qat(auto)), frozenset({"size", "arena", "macs"})
    ),
    "qat4": Rung(lambda auto, network: _four_bits(auto, network), frozenset({"size"})),
    "distilled_qat4": Rung(lambda auto, network: _four_bits(auto, network, **_taught(auto)), frozenset({"size"})),
}
