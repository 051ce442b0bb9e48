"""The check `static_shapes`: whether all tensor shapes are known before the file runs."""

from collections.abc import Iterator
from typing import Literal

from pipeline.verify.checks.check import Check
from pipeline.verify.model_facts import CheckResult, ModelFacts


class StaticShapes(Check):
    """No tensor has a dynamic dimension. Microcontrollers and NPUs plan their memory before the first inference."""

    check: Literal["static_shapes"]

    def judge(self, model: ModelFacts, baseline: ModelFacts | None) -> Iterator[CheckResult]:
        do = (
            "give the converter the whole shape: keras.Input(shape, batch_size=1), "
            "or tf.lite.TFLiteConverter.from_concrete_functions of a tf.TensorSpec without None"
        )
        yield self.none_of(model, "tensors of open shape", model.dynamic, do)
