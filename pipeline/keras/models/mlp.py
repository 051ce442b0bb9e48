"""The model `mlp`: dense layers for flat examples, such as tables, sensor values or features."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PositiveInt

from pipeline.data.spec import Spec
from pipeline.keras.models.head import head
from pipeline.keras.models.model import Model

if TYPE_CHECKING:
    import tf_keras


class Mlp(Model):
    """Multilayer perceptron: a sequence of dense layers with ReLU."""

    source: Literal["mlp"]
    units: Annotated[tuple[PositiveInt, ...], Field(strict=False, min_length=1)] = (64, 32)
    """Number of units of each hidden layer."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout rate after each hidden layer."""

    def refuse(self, spec: Spec) -> None:
        if len(spec.shape) != 1:
            do = "give data a `shape:` of one number, such as [64]"
            raise self.misfit("takes flat examples (values,)", spec, do)

    def build(self, spec: Spec) -> "tf_keras.Model":
        import tf_keras
        from tf_keras import layers

        self.refuse(spec)
        x = inputs = layers.Input(spec.shape, name="features")  # (values,)
        for i, units in enumerate(self.units, start=1):
            x = layers.ReLU(name=f"relu{i}")(layers.Dense(units, name=f"dense{i}")(x))
            if self.dropout:
                x = layers.Dropout(self.dropout, name=f"dropout{i}")(x)
        return tf_keras.Model(inputs, head(x, spec), name="mlp")
