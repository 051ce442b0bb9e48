"""Run Vela, Arm's compiler for the Ethos-U NPUs, on a .tflite file: its estimates, and the ops left to the CPU.

Vela runs in a separate process. It exits with code 0 even when nothing runs on the NPU (seen with 5.2.0 and a float32
file). So the share of NPU ops is counted in the file that Vela writes; the other figures come from its summary.
"""

import csv
import math
import os
import subprocess
import sys
import tempfile
from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from pipeline import tflite
from pipeline.core.errors import Fault, StageError
from pipeline.verify.interpreters.tflm import Unavailable
from pipeline.verify.model_facts import VelaFacts

__all__ = ["Unavailable", "estimate", "installed"]

TIMEOUT = 600.0  # seconds; large networks take Vela minutes
NPU_OP = "ethos-u"  # the custom op that replaces what runs on the NPU


def installed() -> str:
    """Version of Vela, or "not installed"."""
    try:
        return version("ethos-u-vela") if find_spec("ethosu") else "not installed"
    except PackageNotFoundError:
        return "not installed"


def estimate(
    path: Path, accelerator: str, system_config: str | None = None, memory_mode: str | None = None
) -> VelaFacts:
    """Compile the file for an NPU such as `ethos-u55-128`. None stands for Vela's default.

    Raises Unavailable when Vela is not installed, StageError when it fails on the file.
    """
    if installed() == "not installed":
        raise Unavailable("Vela is not installed; pip install edgepipe[vela]")
    options = {"--system-config": system_config, "--memory-mode": memory_mode}
    chosen = [word for option, value in options.items() if value for word in (option, value)]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "model.tflite")
        source.write_bytes(path.read_bytes())
        _run(path, ["--accelerator-config", accelerator, *chosen, "--output-dir", folder, str(source)])
        summaries = list(Path(folder).glob("model_summary_*.csv"))
        compiled = Path(folder, "model_vela.tflite")
        if len(summaries) != 1 or not compiled.is_file():
            raise StageError(Fault("Vela wrote no compiled file with its summary", where=str(path)))
        return _facts(accelerator, _summary(summaries[0]), tflite.read(path), tflite.read(compiled))


def _run(path: Path, arguments: list[str]) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(part or "." for part in sys.path)}
    command = [sys.executable, "-m", "ethosu.vela", *arguments]
    try:
        done = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        raise StageError(Fault(f"Vela did not end within {TIMEOUT:.0f} s", where=str(path))) from None
    if done.returncode:
        lines = done.stdout.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
        raise StageError(Fault("Vela failed on this file", where=str(path), received=lines[-1][:300]))


def _summary(path: Path) -> dict[str, str]:
    with path.open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    return row


def _facts(accelerator: str, row: dict[str, str], source: tflite.Model, compiled: tflite.Model) -> VelaFacts:
    left = Counter(op.name for op in compiled.ops if op.name != NPU_OP)
    total = sum(1 for op in source.ops)
    flash = float(row["on_chip_flash_memory_used"]) + float(row["off_chip_flash_memory_used"])
    cycles = _positive(row["cycles_total"])
    return VelaFacts(
        version=installed(),
        accelerator=accelerator,
        system_config=row["system_config"],
        memory_mode=row["memory_mode"],
        npu_share=max(0.0, 1 - sum(left.values()) / total) if total else 0.0,
        cpu_ops=tuple(sorted(left)),
        sram_bytes=round(float(row["sram_memory_used"]) * 1024),  # the summary is in KiB
        flash_bytes=round(flash * 1024),
        cycles=round(cycles) if cycles else None,
        inferences_per_second=_positive(row["inferences_per_second"]),
    )


def _positive(text: str) -> float | None:
    """A figure of the summary; None for 0 or nan, which Vela writes when nothing runs on the NPU."""
    value = float(text)
    return value if math.isfinite(value) and value > 0 else None
