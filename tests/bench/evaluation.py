"""Time to evaluate an untrained ResNet-8 on CIFAR-sized images, over a bare loop of one-image invocations: [RUNS].

The loop has its images quantized beforehand and one thread. Both are timed in turn; each ratio is of one pair.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from pipeline.tflite.values import stored
from pipeline.verify.interpreters import litert

CONFIG = """
name: files
data: {source: npz, path: data.npz}
model: {source: resnet8}
stages:
  - {stage: train, epochs: 0}
  - {stage: convert, name: int8, quantization: int8}
  - {stage: convert, name: int16x8, quantization: int16x8}
"""


def files(folder):
    random = np.random.default_rng(0)
    x = random.integers(0, 256, (300, 32, 32, 3), np.uint8)
    np.savez(folder / "data.npz", x_train=x, y_train=np.arange(len(x)) % 10)
    (folder / "config.yaml").write_text(CONFIG)
    command = [sys.executable, "-m", "pipeline", "run", str(folder / "config.yaml"), "--store", str(folder / "store")]
    subprocess.run([*command, "--out", str(folder)], check=True, capture_output=True)
    return folder / "files" / "int8.tflite", folder / "files" / "int16x8.tflite"


def bare(path, x, kernels):
    interpreter = litert.interpreter(path.read_bytes(), kernels)
    interpreter.allocate_tensors()
    image, scores = (ports()[0]["index"] for ports in (interpreter.get_input_details, interpreter.get_output_details))
    quantized = stored(x, litert.read(path).inputs[0])
    started = time.perf_counter()
    for i in range(len(x)):
        interpreter.set_tensor(image, quantized[i : i + 1])
        interpreter.invoke()
        interpreter.get_tensor(scores)
    return time.perf_counter() - started


def ours(path, x, kernels, workers):
    started = time.perf_counter()
    litert.raw(path, x, kernels, workers)
    return time.perf_counter() - started


def main():
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    images = np.random.default_rng(1).random((10_000, 32, 32, 3), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        int8, int16x8 = files(Path(folder))
        for name, path, kernels, count in (
            ("int8, XNNPACK", int8, "xnnpack", 10_000),
            ("int8, reference kernels", int8, "reference", 500),
            ("int16x8", int16x8, "xnnpack", 500),
        ):
            x = images[:count]
            for workers, what in ((1, "one thread"), (None, f"{litert.cores()} cores")):
                pairs = [(ours(path, x, kernels, workers), bare(path, x, kernels)) for _ in range(runs)]
                ratios = sorted(a / b for a, b in pairs)
                print(
                    f"{name}, {count:,} images, {what}: {statistics.median(ratios):.2f} of the bare loop's time, "
                    f"median of {runs} ({ratios[0]:.2f} to {ratios[-1]:.2f})",
                    flush=True,
                )


if __name__ == "__main__":
    main()
