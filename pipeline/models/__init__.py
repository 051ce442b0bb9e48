"""The models: one file each, and this table is the whole registry."""

from typing import Annotated

from pydantic import Field

from pipeline.models.applications import Applications
from pipeline.models.autoencoder import Autoencoder
from pipeline.models.ds_cnn import DsCnn
from pipeline.models.file import File
from pipeline.models.mlp import Mlp
from pipeline.models.mobilenet_v1 import MobilenetV1
from pipeline.models.resnet8 import Resnet8
from pipeline.models.small_cnn import SmallCnn

AnyModel = Annotated[
    Applications | Autoencoder | DsCnn | File | Mlp | MobilenetV1 | Resnet8 | SmallCnn, Field(discriminator="source")
]
