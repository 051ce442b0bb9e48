"""The model `transformer`: a small encoder of self-attention blocks for sequences and images."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from pipeline.data.spec import Spec
from pipeline.keras.models.head import head
from pipeline.keras.models.model import Model

if TYPE_CHECKING:
    import tensorflow as tf
    import tf_keras


class Transformer(Model):
    """Blocks of multi-head self-attention and two dense layers, each behind a normalisation and beside a shortcut.

    A sequence (length, channels) has a token for each step, an image (height, width, channels) one for each patch. A
    depthwise convolution over neighbouring tokens tells their order. All tokens go to the last layer.
    Sources: Vaswani et al., https://arxiv.org/abs/1706.03762; Dosovitskiy et al., https://arxiv.org/abs/2010.11929
    (patches); Chu et al., https://arxiv.org/abs/2102.10882 (order by a depthwise convolution).
    """

    source: Literal["transformer"]
    patch: Annotated[int, Field(gt=0, le=64)] = 4
    """Height and width of an image's patches, in pixels; steps of a sequence that make one token."""
    width: Annotated[int, Field(gt=0, le=1024)] = 32
    """Values of a token."""
    heads: Annotated[int, Field(gt=0, le=64)] = 2
    """Attention heads, among which the values of a token are divided."""
    blocks: Annotated[int, Field(gt=0, le=32)] = 2
    """Number of blocks."""
    hidden: Annotated[int, Field(gt=0, le=4096)] = 64
    """Units of the first dense layer of a block, whose activation is GELU."""

    def refuse(self, spec: Spec) -> None:
        if len(spec.shape) not in (2, 3) or min(spec.shape[:-1]) < self.patch:
            do = "give data a `shape:`, such as [32, 6], or lower `patch`"
            raise self.misfit(f"takes sequences or images of at least {self.patch} steps or pixels", spec, do)

    def build(self, spec: Spec) -> "tf_keras.Model":
        import tf_keras
        from tf_keras import layers

        self.refuse(spec)
        inputs = layers.Input(spec.shape, name="sequence" if len(spec.shape) == 2 else "image")
        x = self._tokens(inputs)  # (tokens, width)
        for i in range(1, self.blocks + 1):
            x = self._block(x, i)
        x = layers.Flatten(name="features")(layers.LayerNormalization(name="norm")(x))  # (tokens * width,)
        return tf_keras.Model(inputs, head(x, spec), name="transformer")

    def _tokens(self, x: "tf.Tensor") -> "tf.Tensor":
        from tf_keras import layers

        convolution = layers.Conv1D if len(x.shape) == 3 else layers.Conv2D
        x = convolution(self.width, self.patch, self.patch, name="patches")(x)
        x = layers.Reshape((-1, self.width), name="tokens")(x)
        order = layers.DepthwiseConv1D(3, padding="same", name="order")(x)
        return layers.Add(name="ordered")([x, order])

    def _block(self, x: "tf.Tensor", i: int) -> "tf.Tensor":
        from tf_keras import layers

        normal = layers.LayerNormalization(name=f"norm{i}a")(x)
        size = max(1, self.width // self.heads)
        attended = layers.MultiHeadAttention(self.heads, size, name=f"attention{i}")(normal, normal)
        x = layers.Add(name=f"add{i}a")([x, attended])
        y = layers.Dense(self.hidden, activation="gelu", name=f"dense{i}a")(
            layers.LayerNormalization(name=f"norm{i}b")(x)
        )
        return layers.Add(name=f"add{i}b")([x, layers.Dense(self.width, name=f"dense{i}b")(y)])
