"""Wall time of training and conversion of configs/digits.yaml through edgepipe, over the plain script's: [RUNS].

Both are timed as whole processes, in turn, from cold; the ratio of each pair is printed, and the median.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
CONFIG = HERE.parent.parent / "configs" / "digits.yaml"


def seconds(*command):
    started = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, capture_output=True)
    return time.perf_counter() - started


def pair(folder, config):
    edgepipe = seconds("-m", "pipeline", "run", str(config), "--store", f"{folder}/store", "--out", f"{folder}/runs")
    plain = seconds(str(HERE / "plain.py"), f"{folder}/plain")
    return edgepipe, plain


def main():
    ratios = []
    for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 3):
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder) / "digits.yaml"
            config.write_text(CONFIG.read_text().split("  - stage: verify")[0])  # the plain script verifies nothing
            edgepipe, plain = pair(folder, config)
        ratios.append(edgepipe / plain)
        print(f"edgepipe {edgepipe:.1f} s, plain script {plain:.1f} s, ratio {ratios[-1]:.2f}", flush=True)
    print(f"median ratio {statistics.median(ratios):.2f} of {len(ratios)} pairs")


if __name__ == "__main__":
    main()
