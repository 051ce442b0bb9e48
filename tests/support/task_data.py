"""Small arrays for regression and anomaly detection, and networks for them."""

import numpy as np

from pipeline.data.sources.npz import Npz

X = np.random.default_rng(3).normal(size=(60, 4)).astype(np.float32)
Y = X[:, :2] @ np.array([[1.0, 0.5], [-0.5, 1.0]])  # two numbers to find
NORMAL = np.stack([X[:, 0], X[:, 0], X[:, 1], X[:, 1]], axis=1)  # pairs of equal values; anything else is none
BOTH = np.concatenate([NORMAL[40:], 4 * X[40:]])
ODD = np.arange(40) >= 20
ANOMALY = {"x_train": NORMAL[:40], "x_test": BOTH, "y_test": ODD}


def source(folder, task, settings=None, **arrays):
    """A data source over an archive of these arrays, written into the folder."""
    np.savez(folder / "data.npz", **arrays)
    return Npz(source="npz", path=folder / "data.npz", task=task, **(settings or {}))


def keras_files(send, folder):
    """Save networks for examples (4,): one output with and without a sigmoid, and four."""
    from tf_keras import Model, layers

    inputs = layers.Input((4,))
    for name, units, activation in (("sigmoid", 1, "sigmoid"), ("linear", 1, None), ("four", 4, None)):
        features = layers.Dense(8, activation="relu")(inputs)
        Model(inputs, layers.Dense(units, activation=activation)(features)).save(folder / f"{name}.h5")
