"""The check `ops`: whether a runtime has a kernel for every op of the file."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from pipeline.verify.checks.check import Check
from pipeline.verify.model_facts import CheckResult, ModelFacts

Kinds = Annotated[tuple[str, ...], Field(strict=False)]


class Ops(Check):
    """The runtime has a kernel for every op, in every subgraph, with the data types that the op uses."""

    check: Literal["ops"]
    allowed: dict[str, Kinds]
    """Data types that the kernel of each op accepts: `int8`, or `int8xint4` for input and weights. An empty list
    accepts all."""
    per_channel_dense: bool = True
    """Whether dense weights may have one scale per unit. Runtimes from before 2024-09 refuse them or compute wrong
    results."""
    int16x8: bool = True
    """Whether 16-bit data with 8-bit weights is allowed."""

    def judge(self, model: ModelFacts, baseline: ModelFacts | None) -> Iterator[CheckResult]:
        yield self.none_of(model, "ops without a kernel", tuple(self._lacking(model)))
        if not self.per_channel_dense:
            dense = (
                layer for layer in model.layers if layer.op == "FULLY_CONNECTED" and (layer.weights_scales or 0) > 1
            )
            found = tuple(f"{layer.name} has {layer.weights_scales} scales" for layer in dense)
            do = (
                "convert with `per_channel_dense: false` or, elsewhere, with "
                "converter._experimental_disable_per_channel_quantization_for_dense_layers = True"
            )
            yield self.none_of(model, "dense weights with a scale for each unit", found, do)

    def _lacking(self, model: ModelFacts) -> Iterator[str]:
        for op, found in model.op_dtypes.items():
            if op not in self.allowed:
                yield f"{op} is not there"
                continue
            kinds = self.allowed[op]
            yield from (f"{op} does not take {kind}" for kind in found if kinds and kind not in kinds)
            if not self.int16x8:
                yield from (f"{op} does not take {kind}" for kind in found if kind.startswith("int16x"))
