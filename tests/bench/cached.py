"""Time of a run that finds everything in the store, over that of `--help`, and how it grows with the parts: [RUNS].

Whole processes of configs/digits.yaml are timed in turn, so that a machine that slows down slows all of them. One copy
of the program is as it is, another has twenty more data sources. As after an installation, Python's compiled modules
are kept. The ratios are of processor time, which is waiting for nothing, and of wall time, each of neighbours in turn.
"""

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
CONFIG = ROOT / "configs" / "digits.yaml"
MORE = 20


def seconds(tree, *arguments):
    """Wall and processor seconds of a process of the program in that folder."""
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    used, started = processor(), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments], cwd=tree, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(done.stderr)
    return time.perf_counter() - started, processor() - used


def processor():
    """Processor seconds of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def copied(tree, more):
    """The program in a folder of its own, with that many data sources beside those that it has."""
    shutil.copytree(ROOT / "pipeline", tree / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    sources, registry = tree / "pipeline" / "data" / "sources", tree / "pipeline" / "config" / "registry.py"
    source, lines = (sources / "digits.py").read_text(encoding="utf-8"), []
    for i in range(more):
        text = source.replace("class Digits", f"class More{i}").replace('["digits"] = "digits"', f'["more{i}"]')
        (sources / f"more{i}.py").write_text(text, encoding="utf-8")
        lines.append(f'    "more{i}": "pipeline.data.sources.more{i}:More{i}",\n')
    table = registry.read_text(encoding="utf-8")
    registry.write_text(table.replace("DATA = {\n", f"DATA = {{\n{''.join(lines)}"), encoding="utf-8")
    return tree


def told(name, times):
    """The line of one command's wall seconds."""
    walls = [wall for wall, _ in times]
    print(f"{name}: median {statistics.median(walls):.2f} s, least {min(walls):.2f} s of {len(walls)} runs")


def ratio(name, above, below):
    """The line of the ratios of two commands' times, pair by pair."""
    walls, processors = ([a[i] / b[i] for a, b in zip(above, below, strict=True)] for i in (0, 1))
    print(
        f"{name}: median {statistics.median(processors):.3f} in processor time, "
        f"{statistics.median(walls):.3f} in wall time, of {len(above)} pairs"
    )


def main():
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plain, grown = copied(folder / "plain", 0), copied(folder / "grown", MORE)
        run = ("run", str(CONFIG), "--store", f"{folder}/store", "--out", f"{folder}/runs")
        print(f"cold run, verification and report included: {seconds(plain, *run)[0]:.1f} s")
        commands = {"--help": (plain, "--help"), "cached run": (plain, *run), f"{MORE} more sources": (grown, *run)}
        for command in commands.values():
            seconds(*command)  # compiles the modules
        times = {name: [] for name in commands}
        for _ in range(runs):
            for name, command in commands.items():
                times[name].append(seconds(*command))
        for name in times:
            told(name, times[name])
        ratio("cached run / --help", times["cached run"], times["--help"])
        ratio(f"{MORE} more sources / cached run", times[f"{MORE} more sources"], times["cached run"])


if __name__ == "__main__":
    main()
