"""The data sources: one file each, and this table is the whole registry."""

from typing import Annotated

from pydantic import Field

from pipeline.data.diabetes import Diabetes
from pipeline.data.digits import Digits
from pipeline.data.npz import Npz

AnyData = Annotated[Diabetes | Digits | Npz, Field(discriminator="source")]
