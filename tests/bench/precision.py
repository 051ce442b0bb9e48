"""Time of an epoch of ResNet-8 on random CIFAR-sized images in each precision, over float32: [RUNS [EXAMPLES]].

The precisions take turns, each behind an epoch that is not timed; each ratio is of one turn.
"""

import statistics
import sys
import time

import numpy as np

from pipeline.data.spec import Spec
from pipeline.keras import tf
from pipeline.keras.models.resnet8 import Resnet8
from pipeline.keras.training.fit import _optimizer
from pipeline.stages.train import Train

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


def learner(precision, examples):
    """The network in that precision, ready to train, with one epoch behind it."""
    model = tf.in_precision(Resnet8(source="resnet8").build(Spec((32, 32, 3), tuple("0123456789"))), precision)
    settings = Train.model_validate({"stage": "train", "epochs": 1, "batch_size": 128, "precision": precision})
    model.compile(_optimizer(settings, 1), "categorical_crossentropy")
    epoch(model, examples)
    return model


def epoch(model, examples):
    started = time.perf_counter()
    model.fit(*examples, batch_size=128, verbose=0)
    return time.perf_counter() - started


def main():
    runs, count = (int(text) for text in [*sys.argv[1:], *("5", "2048")[len(sys.argv) - 1 :]])
    tf.start(0)
    random = np.random.default_rng(0)
    examples = (
        random.random((count, 32, 32, 3), np.float32),
        np.eye(10, dtype=np.float32)[random.integers(0, 10, count)],
    )
    models = {precision: learner(precision, examples) for precision in PRECISIONS}
    ratios = {precision: [] for precision in PRECISIONS}
    for _ in range(runs):
        times = {precision: epoch(model, examples) for precision, model in models.items()}
        for precision, seconds in times.items():
            ratios[precision].append(seconds / times["float32"])
    for precision, found in ratios.items():
        print(f"{precision}: {statistics.median(found):.2f} times float32 (median of {len(found)} turns)")


if __name__ == "__main__":
    main()
