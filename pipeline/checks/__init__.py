"""The checks: one file each, and this table is the whole registry."""

from typing import Annotated

from pydantic import Field

from pipeline.checks.accuracy import Accuracy
from pipeline.checks.agreement import Agreement
from pipeline.checks.integer_only import IntegerOnly
from pipeline.checks.io import Io
from pipeline.checks.size import Size
from pipeline.checks.sparsity import Sparsity

AnyCheck = Annotated[Accuracy | Agreement | IntegerOnly | Io | Size | Sparsity, Field(discriminator="check")]
