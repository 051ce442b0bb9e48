"""The model `autoencoder`: the fully connected autoencoder of MLPerf Tiny's anomaly detection."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from pipeline.data.spec import Spec
from pipeline.keras.models.model import Model

if TYPE_CHECKING:
    import tf_keras


class Autoencoder(Model):
    """Fully connected autoencoder for anomaly detection: the reconstruction error is the anomaly score.

    With 128 units and a code of 8 on 640 values (5 frames of 128 mel bands) it is the network of MLPerf Tiny: 264,192
    multiply-accumulates.
    Sources: Koizumi et al., https://arxiv.org/abs/2006.05822 (DCASE 2020 task 2); github.com/mlcommons/tiny.
    """

    tasks = ("anomaly",)

    source: Literal["autoencoder"]
    units: Annotated[int, Field(gt=0, le=4096)] = 128
    """Number of units of each hidden layer."""
    code: Annotated[int, Field(gt=0, le=4096)] = 8
    """Number of units of the bottleneck layer in the middle."""
    depth: Annotated[int, Field(gt=0, le=16)] = 4
    """Number of hidden layers before the bottleneck, and again after it."""

    def refuse(self, spec: Spec) -> None:
        if len(spec.shape) != 1:
            do = "give data a `shape:` of one number, such as [640]"
            raise self.misfit("takes flat examples (values,)", spec, do)

    def build(self, spec: Spec) -> "tf_keras.Model":
        import tf_keras
        from tf_keras import layers

        self.refuse(spec)
        x = inputs = layers.Input(spec.shape, name="features")  # (values,)
        names = [f"{side}{i}" for side in ("encoder", "decoder") for i in range(1, self.depth + 1)]
        names.insert(self.depth, "code")
        for name in names:
            x = layers.Dense(self.code if name == "code" else self.units, use_bias=False, name=name)(x)
            x = layers.ReLU(name=f"{name}_relu")(layers.BatchNormalization(name=f"{name}_norm")(x))
        return tf_keras.Model(inputs, layers.Dense(spec.shape[0], name="rebuilt")(x), name="autoencoder")
