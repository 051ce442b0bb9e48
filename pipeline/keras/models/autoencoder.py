"""The fully connected autoencoder of MLPerf Tiny's anomaly detection."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from pipeline.core.errors import Fault, InputError
from pipeline.data.spec import Spec
from pipeline.keras.models.model import Model

if TYPE_CHECKING:
    import tf_keras


class Autoencoder(Model):
    """Dense layers down to a narrow code and up again: it gives back what it is given, badly so for an anomaly.

    With 128 units and a code of 8 on 640 values (5 frames of 128 mel bands) it is MLPerf Tiny's: 264,192
    multiply-accumulates. It is for anomaly detection: the error of what it gives back is the score.
    Sources: Koizumi et al., https://arxiv.org/abs/2006.05822 (DCASE 2020 task 2); github.com/mlcommons/tiny.
    """

    tasks = ("anomaly",)

    source: Literal["autoencoder"]
    units: Annotated[int, Field(gt=0, le=4096)] = 128
    """Units of each hidden layer."""
    code: Annotated[int, Field(gt=0, le=4096)] = 8
    """Units of the narrow layer in the middle."""
    depth: Annotated[int, Field(gt=0, le=16)] = 4
    """Hidden layers before the narrow one, and as many after it."""

    def build(self, spec: Spec) -> "tf_keras.Model":
        import tf_keras
        from tf_keras import layers

        if len(spec.shape) != 1:
            raise InputError(
                Fault(
                    "autoencoder takes flat examples (values,)",
                    field="model",
                    received=str(spec.shape),
                    do="give data a `shape:` of one number, such as [640]",
                )
            )
        x = inputs = layers.Input(spec.shape, name="features")  # (values,)
        names = [f"{side}{i}" for side in ("encoder", "decoder") for i in range(1, self.depth + 1)]
        names.insert(self.depth, "code")
        for name in names:
            x = layers.Dense(self.code if name == "code" else self.units, use_bias=False, name=name)(x)
            x = layers.ReLU(name=f"{name}_relu")(layers.BatchNormalization(name=f"{name}_norm")(x))
        return tf_keras.Model(inputs, layers.Dense(spec.shape[0], name="rebuilt")(x), name="autoencoder")
