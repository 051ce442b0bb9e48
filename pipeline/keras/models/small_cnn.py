"""The model `small_cnn`: a small convolutional network for small images."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from pipeline.data.spec import Spec
from pipeline.keras.models.head import head
from pipeline.keras.models.model import Model

if TYPE_CHECKING:
    import tf_keras


MOMENTUM = 0.9  # of the moving averages; Keras's default 0.99 is too slow for epochs of a few dozen steps


class SmallCnn(Model):
    """Three 3x3 convolutions with batch normalisation and ReLU, 2x2 max pooling between them, and a dense layer."""

    source: Literal["small_cnn"]
    filters: Annotated[int, Field(gt=0, le=1024)] = 16
    """Number of filters of the first convolution; the second has twice and the third four times as many."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout rate before the dense layer."""

    def refuse(self, spec: Spec) -> None:
        if len(spec.shape) != 3 or min(spec.shape[:2]) < 4:
            do = "give data a `shape:`, such as [28, 28, 1]"
            raise self.misfit("takes images (height, width, channels) of at least 4x4", spec, do)

    def build(self, spec: Spec) -> "tf_keras.Model":
        import tf_keras
        from tf_keras import layers

        self.refuse(spec)
        x = inputs = layers.Input(spec.shape, name="image")  # (height, width, channels)
        for i, factor in enumerate((1, 2, 4), start=1):
            if i > 1:
                x = layers.MaxPooling2D(2, name=f"pool{i - 1}")(x)
            x = layers.Conv2D(self.filters * factor, 3, padding="same", use_bias=False, name=f"conv{i}")(x)
            x = layers.BatchNormalization(momentum=MOMENTUM, name=f"norm{i}")(x)
            x = layers.ReLU(name=f"relu{i}")(x)
        x = layers.Flatten(name="features")(x)
        if self.dropout:
            x = layers.Dropout(self.dropout, name="dropout")(x)
        return tf_keras.Model(inputs, head(x, spec), name="small_cnn")
