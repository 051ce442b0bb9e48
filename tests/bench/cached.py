"""Wall time, as whole processes, of a cold run, a fully cached run and `--help` of configs/digits.yaml: [RUNS]."""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONFIG = Path(__file__).parent.parent.parent / "configs" / "digits.yaml"


def seconds(*command):
    started = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, capture_output=True)
    return time.perf_counter() - started


def main():
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    with tempfile.TemporaryDirectory() as folder:
        cached = ["-m", "pipeline", "run", str(CONFIG), "--store", f"{folder}/store", "--out", f"{folder}/runs"]
        print(f"cold run, verification and report included: {seconds(*cached):.1f} s")
        for name, command in {
            "cached run": cached,
            "--help": ["-m", "pipeline", "--help"],
            "bare Python": ["-c", ""],
        }.items():
            times = [seconds(*command) for _ in range(runs)]
            print(f"{name}: median {statistics.median(times):.2f} s, least {min(times):.2f} s of {runs} runs")


if __name__ == "__main__":
    main()
