"""Versions of the libraries that the figures depend on, and the machine that they were measured on."""

import os
import platform
import zlib
from pathlib import Path

from pipeline import __version__
from pipeline.core.versions import installed

LIBRARIES = (
    "tensorflow", "tf_keras", "tensorflow-model-optimization", "ai-edge-litert", "tflite-micro", "numpy",
    "scikit-learn", "pydantic", *(PRINTERS := ("matplotlib", "jinja2", "pyyaml")),
)  # fmt: skip
_KERNELS = frozenset({
    "avx", "avx2", "fma", "avx512f", "avx512bw", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16", "amx_int8",
    "amx_bf16", "amx_fp16", "asimd", "asimddp", "asimdhp", "i8mm", "bf16", "sve", "sve2", "sme",
})  # fmt: skip


def environment() -> dict[str, str]:
    """Versions of the libraries that the figures depend on, and the machine, as text by name."""
    found = {"edgepipe": __version__, "python": platform.python_version()}
    found |= {name.replace("-", "_"): installed(name) for name in LIBRARIES}
    found["zlib"] = zlib.ZLIB_RUNTIME_VERSION  # gzip_bytes depends on it
    return found | {"machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores", "cpu": _cpu()}


def _cpu() -> str:
    """The processor and the CPU features by which kernels are chosen, because figures can depend on them."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        return platform.processor() or "unknown"
    lines = dict(
        reversed([line.partition(":")[::2] for line in text.splitlines()])
    )  # keeps the lines of the first core
    facts = {key.strip(): value.strip() for key, value in lines.items()}
    flags = facts.get("flags", facts.get("Features", "")).split()
    return " ".join([facts.get("model name", platform.machine()), *sorted(_KERNELS.intersection(flags))])
