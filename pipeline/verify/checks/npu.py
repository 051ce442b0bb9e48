"""The check `npu`: how much of the file runs on an Arm Ethos-U NPU."""

from collections.abc import Iterator
from typing import Literal

from pydantic import PositiveInt

from pipeline.core.settings import Fraction
from pipeline.verify.checks.check import Check
from pipeline.verify.model_facts import CheckResult, ModelFacts

Accelerator = Literal[
    "ethos-u55-32", "ethos-u55-64", "ethos-u55-128", "ethos-u55-256", "ethos-u65-256", "ethos-u65-512",
    "ethos-u85-128", "ethos-u85-256", "ethos-u85-512", "ethos-u85-1024", "ethos-u85-2048",
]  # fmt: skip


class Npu(Check):
    """Estimates of Vela, Arm's compiler for the Ethos-U. They are not measurements."""

    check: Literal["npu"]
    accelerator: Accelerator
    """NPU, and its number of multiply-accumulates per cycle."""
    system_config: str | None = None
    """Name of the system configuration (clock and memories) in Vela's configuration file. Default: Vela's own."""
    memory_mode: str | None = None
    """Name of the memory mode (which memory holds what) in Vela's configuration file. Default: Vela's own."""
    min_share: Fraction = 1.0
    """Minimum share of the file's ops that run on the NPU, as a fraction."""
    max_sram_bytes: PositiveInt | None = None
    """Maximum SRAM in bytes."""
    max_flash_bytes: PositiveInt | None = None
    """Maximum flash in bytes, for weights and NPU commands."""

    @property
    def npu(self) -> tuple[str, str | None, str | None]:
        return self.accelerator, self.system_config, self.memory_mode

    def judge(self, model: ModelFacts, baseline: ModelFacts | None) -> Iterator[CheckResult]:
        vela = model.vela if model.vela and model.vela.accelerator == self.accelerator else None
        missing = model.vela_why or f"Vela did not compile the file for {self.accelerator}"
        cpu = f"on the CPU: {', '.join(vela.cpu_ops)}" if vela and vela.cpu_ops else ""
        share = vela.npu_share if vela else None
        yield self.result(model, "ops on the NPU", share, "at least", self.min_share, "fraction", missing, cpu)
        for what, value, limit in (
            ("SRAM by Vela", vela.sram_bytes if vela else None, self.max_sram_bytes),
            ("flash by Vela", vela.flash_bytes if vela else None, self.max_flash_bytes),
        ):
            if limit is not None:
                yield self.result(model, what, value, "at most", limit, "bytes", missing)
