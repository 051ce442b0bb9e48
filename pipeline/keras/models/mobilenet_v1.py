"""The model `mobilenet_v1`: MobileNet v1, the visual wake words network of MLPerf Tiny."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from pipeline.data.spec import Spec
from pipeline.keras.models.head import head
from pipeline.keras.models.model import Model

if TYPE_CHECKING:
    import tf_keras

STEM = 32  # filters of the first convolution at full width
# (filters at full width, stride) of each depthwise separable block: table 1 of the paper
BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))


class MobilenetV1(Model):
    """A 3x3 convolution, 13 depthwise separable blocks, global average pooling and a dense layer.

    With alpha 0.25 on 96x96x3 images of 2 classes it is the network of MLPerf Tiny: 7,489,664 multiply-accumulates.
    Sources: Howard et al., https://arxiv.org/abs/1704.04861; github.com/mlcommons/tiny, visual_wake_words.
    """

    source: Literal["mobilenet_v1"]
    alpha: Annotated[float, Field(gt=0, le=2)] = 0.25
    """Width multiplier: factor of the number of filters in the paper."""

    def refuse(self, spec: Spec) -> None:
        if len(spec.shape) != 3 or min(spec.shape[:2]) < 32:
            do = "give data a `shape:`, such as [96, 96, 3], or take small_cnn or resnet8"
            rule = "takes images (height, width, channels) of at least 32x32: it halves five times"
            raise self.misfit(rule, spec, do)

    def build(self, spec: Spec) -> "tf_keras.Model":
        import tf_keras
        from tf_keras import layers

        self.refuse(spec)
        inputs = layers.Input(spec.shape, name="image")  # (height, width, channels)
        x = layers.Conv2D(self._width(STEM), 3, 2, padding="same", use_bias=False, name="conv")(inputs)
        x = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(x))
        for i, (filters, stride) in enumerate(BLOCKS, start=1):
            x = layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False, name=f"depthwise{i}")(x)
            x = layers.ReLU(name=f"relu{i}a")(layers.BatchNormalization(name=f"norm{i}a")(x))
            x = layers.Conv2D(self._width(filters), 1, use_bias=False, name=f"pointwise{i}")(x)
            x = layers.ReLU(name=f"relu{i}b")(layers.BatchNormalization(name=f"norm{i}b")(x))
        x = layers.AveragePooling2D(x.shape[1:3], name="pool")(x)  # (1, 1, 1024 x alpha)
        x = layers.Flatten(name="features")(x)
        return tf_keras.Model(inputs, head(x, spec), name="mobilenet_v1")

    def _width(self, filters: int) -> int:
        return max(1, int(filters * self.alpha))
