"""The models: one file each, and this table is the whole registry."""

from typing import Annotated

from pydantic import Field

from pipeline.models.file import File
from pipeline.models.small_cnn import SmallCnn

AnyModel = Annotated[SmallCnn | File, Field(discriminator="source")]
