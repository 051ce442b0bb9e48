"""What 8 bits in single layers do to a model's outputs: the facts that the sensitivity stage and the report share."""

from pydantic import Field

from pipeline.verify.model_facts import Facts


class Effect(Facts):
    """What rounding does to the outputs, against the float model's on the same examples."""

    sqnr_db: float | None = Field(description="10 log10(sum f^2 / sum e^2) of the outputs; null when there is no error")
    rmse: float = Field(description="sqrt(mean e^2) of the outputs, in real units")
    flips: int | None = Field(description="examples with another decision; null where nothing is decided")
    score: float | None = Field(description="the task's main metric; null where it can't be measured")


class LayerSensitivity(Facts):
    """What TFLite computes in one op, named by the first of its Keras layers."""

    layer: str
    kind: str = Field(description="class of that layer; InputLayer for an input of the model")
    layers: tuple[str, ...] = Field(description="all Keras layers of the op")
    weights: int = Field(description="that are rounded")
    alone: Effect = Field(description="with this layer in 8 bits and all others in float")
    spared: Effect = Field(description="with this layer in float and all others in 8 bits")


class SensitivityFacts(Facts):
    """Every layer of a model, the one that does most harm alone first. Simulated, and not read from a file."""

    examples: int = Field(description="of the validation split")
    split_sha256: str = Field(description="of the validation split")
    metric: str = Field(description="the task's main metric")
    score: float | None = Field(description="of the float model on these examples")
    all: Effect = Field(description="with every layer in 8 bits")
    layers: tuple[LayerSensitivity, ...]
