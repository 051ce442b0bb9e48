"""The checks: one file each, and this table is the whole registry."""

from typing import Annotated

from pydantic import Field

from pipeline.checks.accuracy import Accuracy
from pipeline.checks.agreement import Agreement
from pipeline.checks.arena import Arena
from pipeline.checks.clusters import Clusters
from pipeline.checks.flips import Flips
from pipeline.checks.int8_spec import Int8Spec
from pipeline.checks.integer_only import IntegerOnly
from pipeline.checks.io import Io
from pipeline.checks.metric import Metric
from pipeline.checks.npu import Npu
from pipeline.checks.op_versions import OpVersions
from pipeline.checks.ops import Ops
from pipeline.checks.size import Size
from pipeline.checks.sparsity import Sparsity
from pipeline.checks.static_shapes import StaticShapes

AnyCheck = Annotated[
    Accuracy
    | Agreement
    | Arena
    | Clusters
    | Flips
    | Int8Spec
    | IntegerOnly
    | Io
    | Metric
    | Npu
    | OpVersions
    | Ops
    | Size
    | Sparsity
    | StaticShapes,
    Field(discriminator="check"),
]
