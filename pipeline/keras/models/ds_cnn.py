"""The model `ds_cnn`: DS-CNN, the keyword spotting network of MLPerf Tiny."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from pipeline.data.spec import Spec
from pipeline.keras.models.head import head
from pipeline.keras.models.model import Model

if TYPE_CHECKING:
    import tf_keras

KERNEL = (10, 4)  # kernel size of the first convolution: frames, coefficients


class DsCnn(Model):
    """A 10x4 convolution of stride 2, depthwise separable convolutions, global average pooling and a dense layer.

    With 64 filters and 4 blocks on 49x10x1 MFCCs of 12 words it is the network of MLPerf Tiny: 2,656,768
    multiply-accumulates.
    Sources: Zhang et al., https://arxiv.org/abs/1711.07128 (DS-CNN-S); github.com/mlcommons/tiny, keyword_spotting.
    """

    source: Literal["ds_cnn"]
    filters: Annotated[int, Field(gt=0, le=1024)] = 64
    """Number of filters of every convolution."""
    blocks: Annotated[int, Field(gt=0, le=32)] = 4
    """Number of depthwise separable convolutions."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.4
    """Dropout rate before the pooling; after the first convolution it is half of that."""

    def refuse(self, spec: Spec) -> None:
        if len(spec.shape) != 3 or spec.shape[0] < KERNEL[0] or spec.shape[1] < KERNEL[1]:
            do = "give data a `shape:`, such as [49, 10, 1]"
            raise self.misfit("takes spectrograms (frames, coefficients, channels) of at least 10x4", spec, do)

    def build(self, spec: Spec) -> "tf_keras.Model":
        import tf_keras
        from tf_keras import layers

        self.refuse(spec)
        inputs = layers.Input(spec.shape, name="spectrogram")  # (frames, coefficients, channels)
        x = layers.Conv2D(self.filters, KERNEL, 2, padding="same", use_bias=False, name="conv")(inputs)
        x = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(x))
        if self.dropout:
            x = layers.Dropout(self.dropout / 2, name="dropout1")(x)
        for i in range(1, self.blocks + 1):
            x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"depthwise{i}")(x)
            x = layers.ReLU(name=f"relu{i}a")(layers.BatchNormalization(name=f"norm{i}a")(x))
            x = layers.Conv2D(self.filters, 1, use_bias=False, name=f"pointwise{i}")(x)
            x = layers.ReLU(name=f"relu{i}b")(layers.BatchNormalization(name=f"norm{i}b")(x))
        if self.dropout:
            x = layers.Dropout(self.dropout, name="dropout2")(x)
        x = layers.AveragePooling2D(x.shape[1:3], name="pool")(x)  # (1, 1, filters)
        x = layers.Flatten(name="features")(x)
        return tf_keras.Model(inputs, head(x, spec), name="ds_cnn")
