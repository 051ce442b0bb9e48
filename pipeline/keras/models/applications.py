"""The model `applications`: networks of tf_keras.applications, untrained."""

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
)  # networks whose `include_preprocessing` must be switched off


class Applications(Model):
    """A network of tf_keras.applications with random weights and one output per label.

    It gets examples as the data source gives them: rescaling layers of the network itself are left out. Only
    EfficientNetB0's can't be left out: it divides by 255.
    """

    source: Literal["applications"]
    network: Network
    """Name of the network in tf_keras.applications."""
    alpha: PositiveFloat = 1.0
    """Width multiplier: factor of the number of filters in each layer. MobileNets only."""

    norm_momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Momentum of the moving averages of batch normalisation. Default: the network's own, up to 0.999, which is too
    slow for short trainings."""

    @model_validator(mode="after")
    def _alpha_fits(self) -> "Applications":
        if self.alpha != 1 and not self.network.startswith("MobileNet"):
            raise ValueError(f"alpha: must be 1 for {self.network}; MobileNets alone can be narrowed")
        return self

    def refuse(self, spec: Spec) -> None:
        if len(spec.shape) != 3:
            raise self._wrong("takes images (height, width, channels)", spec)

    def build(self, spec: Spec) -> "tf_keras.Model":
        from tf_keras import applications

        self.refuse(spec)
        options: dict[str, Any] = {"alpha": self.alpha} if self.network.startswith("MobileNet") else {}
        if self.network in _PREPROCESS:
            options["include_preprocessing"] = False
        try:
            network: tf_keras.Model = getattr(applications, self.network)(
                input_shape=spec.shape, weights=None, classes=len(spec.labels), **options
            )
        except ValueError as error:  # Keras knows the smallest image size of each network
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
