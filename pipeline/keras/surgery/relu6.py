"""Replace ReLU6 by ReLU, so that cross-layer equalisation can scale the layers around it."""

from typing import Any

from pipeline.keras.surgery.folding import OUTPUTS, kind
from pipeline.keras.surgery.graph import Call, Rebuild


class Unlimited(Rebuild):
    """The network with each ReLU6 replaced by a ReLU. Outputs differ if a value was above 6."""

    def visit(self, call: Call) -> Any:
        from tf_keras import layers

        old = call.layer
        function = getattr(getattr(old, "activation", None), "__name__", "")
        if kind(old) in OUTPUTS and function == "relu6":
            config = old.get_config() | {"activation": "relu"}
            return self.put(
                call, lambda name: type(old).from_config(config | {"name": name}), *call.args,
                weights=old.get_weights(), **call.kwargs,
            )  # fmt: skip
        ceiling = kind(old) == "ReLU" and old.max_value == 6 and not float(old.threshold)
        if ceiling or (kind(old) == "Activation" and function == "relu6"):
            slope = float(getattr(old, "negative_slope", 0.0))
            return self.put(call, lambda name: layers.ReLU(negative_slope=slope, name=name), call.x)
        return self.copy(call)
