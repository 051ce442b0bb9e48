"""The four MLPerf Tiny nets as real .tflite files, and a file that fits no target, made once a session.

The nets are not trained, but their normalisations know the data: without that the signal dies out on its way, and
TFLite Micro aborts on the scales that this gives. TensorFlow runs in a process of its own: ``python
tests/net_models.py FOLDER``.
"""

import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

NETS: dict[str, tuple[tuple[int, ...], int]] = {  # shape of an example, labels
    "resnet8": ((32, 32, 3), 10),
    "ds_cnn": ((49, 10, 1), 12),
    "mobilenet_v1": ((96, 96, 3), 2),
    "autoencoder": ((640,), 0),
}


@functools.cache
def _made(folder: Path) -> Path:
    folder.mkdir()
    path = os.pathsep.join(part or "." for part in sys.path)
    environment = os.environ | {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": path}
    command = [sys.executable, "-W", "ignore", __file__, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="session")
def nets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of ``resnet8_float32.tflite``, ``resnet8_int8.tflite`` and so on, ``per_tensor`` and ``custom``."""
    return _made(tmp_path_factory.getbasetemp() / "net-models")


def _build(folder: Path) -> None:
    import numpy as np
    import tensorflow as tf
    from pydantic import TypeAdapter

    from pipeline import tf as door
    from pipeline.models import AnyModel
    from pipeline.stage import Spec
    from pipeline.stages.convert import Convert

    door.start(1)
    rng = np.random.default_rng(2)

    def convert(model: Any, quantization: str, samples: Any = None) -> bytes:
        return Convert.model_validate({"stage": "convert", "quantization": quantization})._convert(model, samples)

    for name, (shape, labels) in NETS.items():
        model = TypeAdapter(AnyModel).validate_python({"source": name})
        network = model.build(Spec(shape, tuple(map(str, range(labels)))))
        x = rng.random((8, *shape), dtype=np.float32)
        norms = [layer for layer in network.layers if hasattr(layer, "momentum")]
        for layer in norms:
            layer.momentum = 0.0  # the statistics become those of the batch
        network(x, training=True)
        (folder / f"{name}_float32.tflite").write_bytes(convert(network, "float32"))
        (folder / f"{name}_int8.tflite").write_bytes(convert(network, "int8", x[:2]))

    old = tf.lite.TFLiteConverter  # one scale for all units of a dense layer, as converters of before 2024 did
    old._experimental_disable_per_channel_quantization_for_dense_layers = True
    door.start(1)
    model = TypeAdapter(AnyModel).validate_python({"source": "small_cnn", "filters": 4})
    network = model.build(Spec((8, 8, 1), ("a", "b")))
    x = rng.random((8, 8, 8, 1), dtype=np.float32)
    (folder / "per_tensor.tflite").write_bytes(convert(network, "int8", x))

    erf = tf.function(tf.math.erf).get_concrete_function(tf.TensorSpec([None, 4], tf.float32))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([erf])
    converter.allow_custom_ops = True
    (folder / "custom.tflite").write_bytes(converter.convert())


if __name__ == "__main__":
    _build(Path(sys.argv[1]))
