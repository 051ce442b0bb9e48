"""The results of a sensitivity stage, which the convert stage and the report read."""

from pydantic import Field

from pipeline.verify.model_facts import Facts


class Effect(Facts):
    """Error of the outputs with rounding, against the outputs of the float model on the same examples."""

    sqnr_db: float | None = Field(
        description="signal-to-quantization-noise ratio in dB, 10 log10(sum f^2 / sum e^2), with float outputs f and "
        "errors e; null if there is no error"
    )
    rmse: float = Field(description="root mean square error, sqrt(mean e^2), in units of the outputs")
    flips: int | None = Field(description="number of examples with a different decision; null if the task has none")
    score: float | None = Field(description="main metric of the task; null if it can't be measured")


class LayerSensitivity(Facts):
    """Sensitivity of the Keras layers that TFLite computes in one op, named after the first of them."""

    layer: str = Field(description="name of the first Keras layer of the op")
    kind: str = Field(description="class of the first layer; InputLayer for an input of the model")
    layers: tuple[str, ...] = Field(description="all Keras layers of the op")
    weights: int = Field(description="number of weights that are rounded")
    alone: Effect = Field(description="effect of this layer in 8 bits and all others in float")
    spared: Effect = Field(description="effect of this layer in float and all others in 8 bits")


class SensitivityFacts(Facts):
    """Every layer of a model, most sensitive first. The figures are simulated, not measured on a .tflite file."""

    examples: int = Field(description="number of examples, from the validation split")
    split_sha256: str = Field(description="sha256 of the validation split")
    metric: str = Field(description="name of the task's main metric")
    score: float | None = Field(description="main metric of the float model on these examples")
    all: Effect = Field(description="effect of all layers in 8 bits")
    layers: tuple[LayerSensitivity, ...] = Field(description="the layers, the one that does most harm alone first")
