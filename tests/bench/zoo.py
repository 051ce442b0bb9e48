"""The networks of tf_keras.applications through prune 50 %, QAT and int8, a table row each: [NAME ...].

Random weights and a few steps on made-up images: it is about structure, not accuracy. Each network runs as one edgepipe
command of its own.

to Keras         the scores of the file against those of the qat stage's Keras model, in steps (LSB) of 1/256, over the
                 test images: the largest difference, and the mean
between kernels  the same file on XNNPACK against the reference kernels of LiteRT, the largest difference in the same
                 steps. Deep random networks blow up each rounding, so this is what "close" can mean.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import get_args

import numpy as np

from pipeline.keras.models.applications import Network

SIZE = 96
CONFIG = """\
name: zoo
seed: 7
data: {{source: npz, path: images.npz, scale: {scale}}}
model: {{source: applications, network: {network}, norm_momentum: 0.7}}
stages:
  - {{stage: train, epochs: 1, batch_size: 16, optimizer: sgd, learning_rate: 0.001, clip_norm: 1}}
  - {{stage: prune, sparsity: 0.5, epochs: 1, batch_size: 16, optimizer: sgd, learning_rate: 0.001, clip_norm: 1}}
  - {{stage: qat, epochs: 1, batch_size: 16, optimizer: sgd, learning_rate: 0.001, clip_norm: 1}}
  - {{stage: convert, quantization: int8, calibration: {{samples: 32}}}}
  - stage: verify
    of: [convert]
    checks: [{{check: integer_only}}, {{check: int8_spec}}, {{check: sparsity, min: 0.49}}]
"""
HEAD = ("network", "integer-only", "breaches", "zeros", "left to calibration", "to Keras", "between kernels", "MB", "s")


def images(path):
    """Smooth coloured patterns of 10 kinds, 96x96x3 uint8, with noise."""
    rng = np.random.default_rng(7)
    kinds = rng.uniform(0, 255, (10, 6, 6, 3))
    arrays = {}
    for split, count in (("train", 96), ("validation", 16), ("calibration", 32), ("test", 32)):
        y = np.arange(count) % 10
        x = (kinds[y] + rng.normal(0, 60, (count, 6, 6, 3))).repeat(SIZE // 6, 1).repeat(SIZE // 6, 2)
        x += rng.normal(0, 8, x.shape)
        arrays |= {f"x_{split}": x.clip(0, 255).astype(np.uint8), f"y_{split}": y}
    np.savez(path, **arrays)


def measure(network, folder):
    config = Path(folder) / f"{network}.yaml"
    scale = 1.0 if network == "EfficientNetB0" else 1 / 127.5
    config.write_text(CONFIG.format(network=network, scale=scale))
    started = time.perf_counter()
    command = [
        sys.executable,
        "-m",
        "pipeline",
        "run",
        str(config),
        "--store",
        f"{folder}/store",
        "--out",
        f"{folder}/runs",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    report = Path(folder) / "runs" / "zoo" / "report.json"
    if done.returncode not in (0, 5):
        return network, "failed:", done.stderr.strip().splitlines()[-1][:300]
    return row(network, json.loads(report.read_text()), seconds)


def row(network, report, seconds):
    (model,) = report["models"]
    breaches = [rule for rule in model["rules"] if rule["severity"] == "fail"]
    left = [
        layer for step in report["steps"] if step["stage"] == "qat" for layer in step["layers"] if not layer["done"]
    ]
    (kernels,) = [runtime["max_lsb"] for runtime in model["runtimes"] if runtime["runtime"] == "reference"]
    worst, mean = (model["error"][key] / model["output"]["scale"] for key in ("max_abs", "mean_abs"))
    return (
        network,
        "yes" if model["integer_only"] else "no: " + "; ".join(model["floats"][:3]),
        str(len(breaches)),
        f"{model['pruned_sparsity']:.1%}",
        ", ".join(f"{layer['layer']} ({layer['why']})" for layer in left) or "none",
        f"{worst:.1f}, {mean:.2f}",
        str(kernels),
        f"{model['bytes'] / 1e6:.1f}",
        f"{seconds:.0f}",
    )


def main():
    names = sys.argv[1:] or get_args(Network)
    print("| " + " | ".join(HEAD) + " |\n" + "|---" * len(HEAD) + "|", flush=True)
    for network in names:
        with tempfile.TemporaryDirectory() as folder:
            images(Path(folder) / "images.npz")
            print("| " + " | ".join(measure(network, folder)) + " |", flush=True)


if __name__ == "__main__":
    main()
