"""The stages: one file each, and this table is the whole registry."""

from typing import Annotated

from pydantic import Field

from pipeline.stages.auto import Auto
from pipeline.stages.channel_prune import ChannelPrune
from pipeline.stages.cluster import Cluster
from pipeline.stages.compress import Compress
from pipeline.stages.convert import Convert
from pipeline.stages.distill import Distill
from pipeline.stages.equalize import Equalize
from pipeline.stages.prune import Prune
from pipeline.stages.qat import Qat
from pipeline.stages.recalibrate import Recalibrate
from pipeline.stages.sensitivity import Sensitivity
from pipeline.stages.train import Train
from pipeline.stages.verify import Verify

AnyStage = Annotated[
    Train
    | Distill
    | Recalibrate
    | Equalize
    | Prune
    | ChannelPrune
    | Cluster
    | Qat
    | Sensitivity
    | Convert
    | Auto
    | Compress
    | Verify,
    Field(discriminator="stage"),
]
