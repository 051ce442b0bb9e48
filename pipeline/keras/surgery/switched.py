"""A network whose rounding to 8 bits can be switched on and off for each layer, without building it again."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.keras.surgery.graph import Call
from pipeline.keras.surgery.quantizers import KERNELS, TABLES, Quantized, role
from pipeline.keras.surgery.ranges import observe
from pipeline.keras.surgery.rewrite import quantizable

if TYPE_CHECKING:
    import tensorflow as tf
    import tf_keras

LIMIT = 127  # largest absolute int8 weight: the specification restricts weights to [-127, 127]
INPUT = "InputLayer"


@dataclass
class Unit:
    """The layers that TFLite computes in one op, such as a convolution, its normalisation and a ReLU.

    name       name of the first of its layers, in the original model
    kind       class of that layer; `INPUT` for an input of the model
    layers     names of all its layers in the original model
    roundings  layers that round a result while they are switched on
    kernels    each kernel's variable, with its values before and after rounding
    """

    name: str
    kind: str
    layers: list[str] = field(default_factory=list)
    roundings: list[Any] = field(default_factory=list)
    kernels: list[tuple[Any, NDArray[np.float32], NDArray[np.float32]]] = field(default_factory=list)

    @property
    def weights(self) -> int:
        """Number of weights that are rounded."""
        return sum(exact.size for _, exact, _ in self.kernels)

    def switch(self, on: bool) -> None:
        """Switch the rounding of the unit's weights and result on or off."""
        for rounding in self.roundings:
            rounding.on.assign(float(on))
        for kernel, exact, rounded in self.kernels:
            kernel.assign(rounded if on else exact)


class Switched(Quantized):
    """The network with rounding simulated as in quantization-aware training; initially all rounding is off.

    Weights are rounded as by the converter: symmetric, with one scale per channel. This is exact for kernels with a
    folded normalisation too, because folding multiplies all weights of a channel by the same factor. Results are
    rounded over the range that they have on examples. Biases (32 bits) and the layers in `left` are not rounded.
    """

    def __init__(self) -> None:
        super().__init__(preserve=False)
        self._behind: dict[str, str] = {}  # layer whose result is not rounded -> the layer that reads it
        self._made_for: dict[str, Any] = {}  # layer -> its wrapper

    def read(self, x: "tf_keras.KerasTensor") -> "tf_keras.KerasTensor":
        if x.dtype.is_integer:  # ids
            return x
        name = x._keras_history.layer.name
        return self._switch(name, _rounding()(None, name=f"round_{name}"))(x)

    def _rounded(self, call: Call, y: Any) -> Any:
        name = call.layer.name

        def make(free: str) -> Any:
            return self._switch(name, _rounding()(None, name=free))

        return self.put(call, make, y, suffix="_rounded")

    def _wrapped(self, call: Call, ranged: bool) -> "tf_keras.layers.Layer":
        old = call.layer
        layer = type(old).from_config(old.get_config())
        layer.build(call.x.shape if hasattr(call.x, "shape") else [each.shape for each in call.x])
        layer.set_weights(old.get_weights())
        wrapper = _rounding()(layer, name=f"round_{old.name}")
        if role(old) == "table":  # its result is rounded with its weights
            self._made_for[old.name] = wrapper
            return wrapper
        if not ranged:
            assert call.reader is not None
            self._behind[old.name] = call.reader.name
            self._made_for[old.name] = wrapper
            return wrapper
        return self._switch(old.name, wrapper)

    def _switch(self, name: str, rounding: Any) -> Any:
        self._made_for[name] = rounding
        self._ranged[name] = rounding._output_quantizer_vars
        return rounding

    def units(self, origin: Mapping[str, str]) -> list[Unit]:
        """The units in running order. origin: as in `Network.origin`."""
        found: dict[str, Unit] = {}
        for name, rounding in self._made_for.items():
            first = self._first(name)
            wrapped = getattr(self._made_for[first], "layer", None)
            unit = found.setdefault(origin[first], Unit(origin[first], type(wrapped).__name__ if wrapped else INPUT))
            unit.layers += [origin[name]] if origin[name] not in unit.layers else []
            unit.roundings += [rounding] if name in self._ranged else []
            if kernel := _kernel(rounding.layer):
                unit.kernels.append(kernel)
        return list(found.values())

    def _first(self, name: str) -> str:
        """The first layer of the op that a layer belongs to. Layers that merge in one layer have separate ops."""
        before = [other for other, reader in self._behind.items() if reader == name]
        return self._first(before[0]) if len(before) == 1 else name


@dataclass(frozen=True)
class Simulation:
    """A network with rounding that can be switched on and off per unit.

    left  name of a layer that is not simulated -> the reason
    """

    model: "tf_keras.Model"
    units: Sequence[Unit]
    left: Mapping[str, str]

    def switch(self, on: Collection[str]) -> None:
        """Switch rounding on in the units with these names, and off in all others."""
        for unit in self.units:
            unit.switch(unit.name in on)

    def outputs(self, x: NDArray[np.float32], batch: int) -> Callable[[Collection[str]], NDArray[np.float32]]:
        """A function that computes the outputs (n, ...) for x (n, ...) with rounding in the units of given names.

        batch: number of examples in memory at once.
        """
        import tensorflow as tf

        @tf.function(autograph=False)  # type: ignore[untyped-decorator]
        def forward(part: "tf.Tensor") -> "tf.Tensor":
            return self.model(part, training=False)

        def outputs(on: Collection[str]) -> NDArray[np.float32]:
            self.switch(on)
            return np.concatenate([np.asarray(forward(tf.constant(x[i : i + batch]))) for i in range(0, len(x), batch)])

        return outputs


def simulation(model: "tf_keras.Model", examples: Sequence[NDArray[np.float32]]) -> Simulation:
    """The simulation of a flat model. Its activation ranges are measured on batches of examples (n, ...)."""
    network = quantizable(model, examples)
    switched = Switched()
    simulated = switched.model(network.model)
    switched.set_ranges(observe(network.model, switched.ranged, examples))
    left = {network.origin[name]: why for name, why in switched.left.items()}
    return Simulation(simulated, switched.units(network.origin), left)


def _kernel(layer: Any) -> tuple[Any, NDArray[np.float32], NDArray[np.float32]] | None:
    """The variable of a layer's kernel, with its values before and after rounding; None without a kernel."""
    name = (KERNELS | TABLES).get(type(layer).__name__)
    if name is None:
        return None
    variable = getattr(layer, name)
    exact = variable.numpy()
    channels = {"DepthwiseConv2D": (-2, -1), "Conv2DTranspose": (-2,), "Embedding": ()}.get(type(layer).__name__, (-1,))
    return variable, exact, rounded(exact, [axis % exact.ndim for axis in channels])


def rounded(weights: NDArray[np.float32], channels: Collection[int]) -> NDArray[np.float32]:
    """Weights rounded to int8 and back: q * s with q = round(w / s), s = max |w| / 127 over all other axes."""
    others = tuple(axis for axis in range(weights.ndim) if axis not in channels)
    scale = np.abs(weights).max(axis=others, keepdims=True) / LIMIT
    scale = np.where(scale == 0, 1, scale)
    return np.asarray(np.round(weights / scale) * scale, np.float32)


@cache
def _rounding() -> Any:
    """The class of a layer that applies another layer, if any, and rounds the result while it is switched on."""
    import tensorflow as tf
    import tf_keras

    class Rounding(tf_keras.layers.Layer):  # type: ignore[misc]
        def __init__(self, layer: "tf_keras.layers.Layer | None", name: str) -> None:
            super().__init__(name=name)
            self.layer = layer
            self.on = tf.Variable(0.0, trainable=False)
            self.low, self.high = tf.Variable(0.0, trainable=False), tf.Variable(0.0, trainable=False)
            self._output_quantizer_vars = {"min_var": self.low, "max_var": self.high}

        def call(self, x: Any) -> Any:
            y = x if self.layer is None else self.layer(x, training=False) if _trains(self.layer) else self.layer(x)
            rounding = tf.quantization.fake_quant_with_min_max_vars(y, self.low, self.high, num_bits=8)
            return tf.where(self.on > 0, rounding, y)

    return Rounding


def _trains(layer: Any) -> bool:
    """Whether a layer behaves differently in training."""
    return bool(layer._call_spec.expects_training_arg)
