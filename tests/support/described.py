"""Model files with nothing but the description of a network, as Keras 2 writes it. A plan reads no more."""

import json

import h5py


def layer(kind, name, **settings):
    """One layer of `network`."""
    return {"class_name": kind, "config": {"name": name, **settings}}


def dense(units, name="head", **settings):
    return layer("Dense", name, units=units, activation="softmax", **settings)


def network(path, layers=(), shape=(8, 8, 1), version="2.21.0", batch=None):
    """Write a Sequential model for examples of that shape; None for one that does not say its shape."""
    first = [layer("InputLayer", "image", batch_input_shape=[batch, *shape])] if shape else []
    config = {"class_name": "Sequential", "config": {"name": "net", "layers": [*first, *layers]}}
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"] = version
    return path
