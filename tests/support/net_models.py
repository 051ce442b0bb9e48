"""The four MLPerf Tiny nets as real .tflite files, and a file that fits no target, not trained.

Their normalisations know the data: without that the signal dies out on its way, and TFLite Micro aborts on the scales
that this gives.
"""

from pathlib import Path
from typing import Any

NETS: dict[str, tuple[tuple[int, ...], int]] = {  # shape of an example, labels
    "resnet8": ((32, 32, 3), 10),
    "ds_cnn": ((49, 10, 1), 12),
    "mobilenet_v1": ((96, 96, 3), 2),
    "autoencoder": ((640,), 0),
}


def build(send: Any, folder: Path) -> None:
    """Make ``NET_float32.tflite`` and ``NET_int8.tflite`` of each net, ``per_tensor.tflite`` and ``custom.tflite``."""
    import numpy as np
    import tensorflow as tf
    from pydantic import TypeAdapter

    from pipeline.data.spec import Spec
    from pipeline.data.tasks.task import TASKS
    from pipeline.keras import tf as door
    from pipeline.keras.conversion.converter import converter_of
    from pipeline.keras.conversion.trace import traced
    from pipeline.keras.models.model import AnyModel

    door.start(1)
    rng = np.random.default_rng(2)

    def built(source: str, shape: tuple[int, ...], labels: int, **settings: Any) -> Any:
        model: Any = TypeAdapter(AnyModel).validate_python({"source": source, **settings})
        return model.build(
            Spec(shape, tuple(map(str, range(labels))), TASKS["classification" if labels else "anomaly"])
        )

    def convert(name: str, network: Any, samples: Any = None, per_tensor: bool = False) -> None:
        converter = converter_of(traced(network, network.input_shape[1:]))
        if samples is not None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ({network.input_names[0]: x[np.newaxis]} for x in samples)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = tf.int8
            converter._experimental_disable_per_channel_quantization_for_dense_layers = per_tensor
        (folder / f"{name}.tflite").write_bytes(converter.convert())

    for name, (shape, labels) in NETS.items():
        network, x = built(name, shape, labels), rng.random((8, *shape), dtype=np.float32)
        for layer in network.layers:
            if hasattr(layer, "momentum"):
                layer.momentum = 0.0  # the statistics become those of the batch
        network(x, training=True)
        convert(f"{name}_float32", network)
        convert(f"{name}_int8", network, x[:2])
    small = built("small_cnn", (8, 8, 1), 2, filters=4)
    convert("per_tensor", small, rng.random((4, 8, 8, 1), dtype=np.float32), per_tensor=True)

    erf = tf.function(tf.math.erf).get_concrete_function(tf.TensorSpec([None, 4], tf.float32))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([erf], tf.Module())
    converter.allow_custom_ops = True
    (folder / "custom.tflite").write_bytes(converter.convert())
