"""The networks of tf_keras.applications, untrained."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, PositiveFloat, model_validator

from pipeline.core.errors import Fault, InputError
from pipeline.data.spec import Spec
from pipeline.keras.models.model import Model

if TYPE_CHECKING:
    import tf_keras

Network = Literal[
    "MobileNet", "MobileNetV2", "MobileNetV3Small", "MobileNetV3Large", "EfficientNetB0", "EfficientNetV2B0",
    "ResNet50", "ResNet50V2", "DenseNet121", "InceptionV3", "NASNetMobile", "Xception", "VGG16", "ConvNeXtTiny",
]  # fmt: skip
_PREPROCESS = (
    "MobileNetV3Small",
    "MobileNetV3Large",
    "EfficientNetV2B0",
    "ConvNeXtTiny",
)  # unless they are told not to


class Applications(Model):
    """A network of tf_keras.applications with random weights and one output for each label.

    Examples go in as the data source gives them: layers of a network's own that rescale them are left out.
    EfficientNetB0 has one that can't be: it divides by 255.
    """

    source: Literal["applications"]
    network: Network
    """The network's name in tf_keras.applications."""
    alpha: PositiveFloat = 1.0
    """Factor of the number of filters in each layer; MobileNets alone have one."""

    norm_momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Of the moving averages of normalisation; the network's own, up to 0.999, lags behind in short trainings."""

    @model_validator(mode="after")
    def _alpha_fits(self) -> "Applications":
        if self.alpha != 1 and not self.network.startswith("MobileNet"):
            raise ValueError(f"alpha: must be 1 for {self.network}; MobileNets alone can be narrowed")
        return self

    def build(self, spec: Spec) -> "tf_keras.Model":
        from tf_keras import applications

        options: dict[str, Any] = {"alpha": self.alpha} if self.network.startswith("MobileNet") else {}
        if self.network in _PREPROCESS:
            options["include_preprocessing"] = False
        if len(spec.shape) != 3:
            raise self._wrong("takes images (height, width, channels)", spec)
        try:
            network: tf_keras.Model = getattr(applications, self.network)(
                input_shape=spec.shape, weights=None, classes=len(spec.labels), **options
            )
        except ValueError as error:  # the least size differs from network to network, and Keras knows it
            raise self._wrong(str(error).splitlines()[0].rstrip("."), spec) from error
        for layer in network.layers:
            if self.norm_momentum is not None and hasattr(layer, "moving_mean"):
                layer.momentum = self.norm_momentum
        return network

    def _wrong(self, rule: str, spec: Spec) -> InputError:
        do = "give data a `shape:`, such as [96, 96, 3]"
        return InputError(
            Fault(f"{self.network}: {rule}", field="model", received=f"data of shape {spec.shape}", do=do)
        )
