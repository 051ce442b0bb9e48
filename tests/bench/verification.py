"""Wall time of configs/digits.yaml with its verify stage, over the same without: [RUNS].

Both are timed as whole processes, in turn, from cold; the ratio of each pair is printed, and the median.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONFIG = Path(__file__).parent.parent.parent / "configs" / "digits.yaml"


def seconds(config):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "digits.yaml"
        path.write_text(config)
        command = [sys.executable, "-m", "pipeline", "run", str(path), "--store", f"{folder}/store", "--out", folder]
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        return time.perf_counter() - started


def main():
    whole = CONFIG.read_text()
    before = whole.split("  - stage: verify")[0]
    ratios = []
    for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 5):
        verified, plain = seconds(whole), seconds(before)
        ratios.append(verified / plain)
        print(f"with verification {verified:.1f} s, without {plain:.1f} s, ratio {ratios[-1]:.2f}", flush=True)
    print(f"median ratio {statistics.median(ratios):.2f} of {len(ratios)} pairs")


if __name__ == "__main__":
    main()
