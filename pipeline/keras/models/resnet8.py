"""The model `resnet8`: ResNet-8, the image classification network of MLPerf Tiny."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from pipeline.data.spec import Spec
from pipeline.keras.models.head import head
from pipeline.keras.models.model import Model

if TYPE_CHECKING:
    import tensorflow as tf
    import tf_keras


class Resnet8(Model):
    """Three residual blocks of two 3x3 convolutions, the second and third with stride 2, and a dense layer.

    With 16 filters on 32x32x3 images of 10 classes it is the network of MLPerf Tiny: 12,501,632 multiply-accumulates.
    Sources: Banbury et al., https://arxiv.org/abs/2106.07597; github.com/mlcommons/tiny, `resnet_v1_eembc`.
    """

    source: Literal["resnet8"]
    filters: Annotated[int, Field(gt=0, le=1024)] = 16
    """Number of filters of the first block; the second has twice and the third four times as many."""

    def refuse(self, spec: Spec) -> None:
        if len(spec.shape) != 3 or min(spec.shape[:2]) < 4:
            do = "give data a `shape:`, such as [32, 32, 3]"
            raise self.misfit("takes images (height, width, channels) of at least 4x4", spec, do)

    def build(self, spec: Spec) -> "tf_keras.Model":
        import tf_keras
        from tf_keras import layers

        self.refuse(spec)
        inputs = layers.Input(spec.shape, name="image")  # (height, width, channels)
        x = _conv(inputs, self.filters, 3, 1, "stem")
        x = layers.ReLU(name="stem_relu")(layers.BatchNormalization(name="stem_norm")(x))
        for i, factor in enumerate((1, 2, 4), start=1):
            x = _block(x, self.filters * factor, 1 if i == 1 else 2, f"block{i}")
        x = layers.AveragePooling2D(x.shape[1:3], name="pool")(x)  # (1, 1, 4 x filters)
        x = layers.Flatten(name="features")(x)
        return tf_keras.Model(inputs, head(x, spec), name="resnet8")


def _block(x: "tf.Tensor", filters: int, stride: int, name: str) -> "tf.Tensor":
    """Two convolutions, added to the input or, if the stride is above 1, to a 1x1 convolution of it."""
    from tf_keras import layers

    y = layers.BatchNormalization(name=f"{name}_norm1")(_conv(x, filters, 3, stride, f"{name}_conv1"))
    y = layers.ReLU(name=f"{name}_relu1")(y)
    y = layers.BatchNormalization(name=f"{name}_norm2")(_conv(y, filters, 3, 1, f"{name}_conv2"))
    if stride > 1:
        x = _conv(x, filters, 1, stride, f"{name}_skip", bias=True)  # has a bias, because no normalisation follows
    return layers.ReLU(name=f"{name}_relu2")(layers.Add(name=f"{name}_add")([x, y]))


def _conv(x: "tf.Tensor", filters: int, size: int, stride: int, name: str, bias: bool = False) -> "tf.Tensor":
    from tf_keras import layers

    return layers.Conv2D(
        filters, size, stride, padding="same", use_bias=bias, kernel_initializer="he_normal", name=name
    )(x)
