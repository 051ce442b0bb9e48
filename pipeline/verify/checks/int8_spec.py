"""The check `int8_spec`: whether the file follows the LiteRT 8-bit quantization specification."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from pipeline.core.settings import Fraction
from pipeline.verify.checks.check import Check
from pipeline.verify.checks.io import Types
from pipeline.verify.model_facts import Breach, CheckResult, ModelFacts

RuleId = Literal[
    "R1", "R2", "R3", "R4", "R5", "R6", "R7", "R8", "R8u", "R9", "R10", "R11", "R12", "R13", "R14", "R15", "R16",
    "R17", "R18",
]  # fmt: skip


class Int8Spec(Check):
    """The file breaks no rule of the LiteRT 8-bit quantization specification, which NPU compilers rely on.

    Rules R1 to R16 need only the file. The settings below add requirements of your own: R14 (types of input and
    output), R17 (versions) and R18 (zeros and clusters).
    """

    check: Literal["int8_spec"]
    ignore: Annotated[tuple[RuleId, ...], Field(strict=False)] = ()
    """Rules to ignore, such as `R6` for a converter that does not quantize per channel."""
    allow_warnings: bool = True
    """Whether to accept what is legal but unusual: channels with all weights zero, dynamic dimensions, custom ops."""
    input: Types | None = None
    """R14: allowed types of the input."""
    output: Types | None = None
    """R14: allowed types of the output."""
    op_versions: dict[str, PositiveInt] = Field(default={})
    """R17: highest allowed version of each op. Ops that are not listed may have any version."""
    runtime: Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)*$")] | None = None
    """R17: version of LiteRT that will run the file, such as `2.14.0`. The file must not require a later one."""
    sparsity: dict[str, Fraction] = Field(default={})
    """R18: minimum share of zeros in each weight tensor of a Keras layer, as a fraction, by layer name."""
    clusters: dict[str, PositiveInt] = Field(default={})
    """R18: maximum number of different values in each weight tensor of a Keras layer, by layer name."""

    def judge(self, model: ModelFacts, baseline: ModelFacts | None) -> Iterator[CheckResult]:
        what = "breaches of the int8 specification"
        if model.rules is None:
            why = f"the specification does not speak of {model.quantization or 'unknown'} files"
            yield CheckResult(check=self.check, model=model.name, status="unavailable", what=what, why=why)
            return
        counted = {"fail"} if self.allow_warnings else {"fail", "warn"}
        found = (*model.rules, *self._ports(model), *self._versions(model), *self._weights(model))
        wrong = [str(each) for each in found if each.severity in counted and each.rule not in self.ignore]
        yield self.none_of(model, what, wrong)

    def _ports(self, model: ModelFacts) -> Iterator[Breach]:
        for side, allowed, port in (("input", self.input, model.input), ("output", self.output, model.output)):
            received = port.dtype.lower() if port else "that of several tensors"
            if allowed and received not in allowed:
                yield _broken("R14", f"type of the {side}", received, " or ".join(allowed))

    def _versions(self, model: ModelFacts) -> Iterator[Breach]:
        for op, newest in self.op_versions.items():
            if (version := model.op_versions.get(op, 0)) > newest:
                yield _broken("R17", "op version", str(version), f"at most {newest}", op=op)
        asked = model.min_runtime_version
        if self.runtime and asked and _ordered(asked) > _ordered(self.runtime):
            yield _broken("R17", "min_runtime_version", asked, f"at most {self.runtime}")

    def _weights(self, model: ModelFacts) -> Iterator[Breach]:
        if not (self.sparsity or self.clusters):
            return
        for layer in dict.fromkeys((*self.sparsity, *self.clusters)):
            least, most = self.sparsity.get(layer, 0), self.clusters.get(layer)
            tensors = [name for name, kernel in model.kernels.items() if layer in kernel.layers]
            if not tensors:
                yield _broken("R18", f"number of weight tensors of the layer {layer!r}", "0", "at least 1", layer=layer)
            for name in tensors:
                zeros, values = model.sparsity[name], model.unique_values[name]
                if zeros < least:
                    received, expected = f"{zeros:.4f}", f"at least {least:g}"
                    yield _broken("R18", f"share of zeros in {layer!r}", received, expected, layer=layer, tensor=name)
                if most is not None and values > most:
                    received, expected = str(values), f"at most {most}"
                    yield _broken(
                        "R18", f"number of different weights in {layer!r}", received, expected, layer=layer, tensor=name
                    )


def _broken(rule: str, what: str, received: str, expected: str, **where: str) -> Breach:
    return Breach(rule=rule, severity="fail", what=what, received=received, expected=expected, **where)


def _ordered(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
