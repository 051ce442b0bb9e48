"""Rebuild a functional Keras model call by call, with every layer copied or replaced.

A Keras model is a graph of calls (nodes). A layer that is called several times is shared by these calls; in the new
model its copy, or the layers that replace it, are shared in the same way.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import Fault, StageError

if TYPE_CHECKING:
    import tf_keras


@dataclass(frozen=True)
class Call:
    """One call of a layer in the old model, with its arguments in the new model.

    layer    the layer of the old model
    args, kwargs  the arguments of the call, with tensors of the new model
    readers  the layers that read the result in the old model; None among them stands for an output of the model. For a
             layer that is called several times: the readers of all calls, unless all calls have readers of equal types
    alone    whether this call is the only one that reads its input
    """

    layer: "tf_keras.layers.Layer"
    args: Sequence[Any]
    kwargs: dict[str, Any]
    readers: "tuple[tf_keras.layers.Layer | None, ...]"
    alone: bool

    @property
    def x(self) -> Any:
        """The first argument: a tensor, or a list of tensors for a merge layer."""
        return self.args[0]

    @property
    def reader(self) -> "tf_keras.layers.Layer | None":
        """The only layer that reads the result; None if there are several, or if it is an output of the model."""
        return self.readers[0] if len(self.readers) == 1 else None

    def on(self, x: Any) -> "Call":
        """The same call on another input."""
        return replace(self, args=(x, *self.args[1:]))


class Rebuild:
    """Make a new model from an old one. Subclasses override `visit`, which replaces each call of a layer.

    Nested models are flattened: the new model has none.

    origin  name of a layer of the new model -> name of the old layer that it replaces
    dtype   type of the new model's inputs; None: as in the old one

    ::

        class WithoutDropout(Rebuild):
            \"\"\"The network without its dropout layers.\"\"\"

            def visit(self, call: Call) -> Any:
                return call.x if type(call.layer).__name__ == "Dropout" else self.copy(call)

        smaller = WithoutDropout().model(old)
    """

    dtype: str | None = None

    def __init__(self) -> None:
        self.origin: dict[str, str] = {}
        self._made: dict[tuple[int, str], tf_keras.layers.Layer] = {}

    @property
    def names(self) -> dict[int, str]:
        """Id of an old layer -> the name of the new one."""
        return {old: layer.name for (old, _), layer in self._made.items()}

    def visit(self, call: Call) -> Any:
        """Return the tensor, or tensors, of the new model that replace the result of the call."""
        return self.copy(call)

    def read(self, x: "tf_keras.KerasTensor") -> "tf_keras.KerasTensor":
        """Return the tensor that replaces input x of the new model for the layers that read it."""
        return x

    def model(self, old: "tf_keras.Model") -> "tf_keras.Model":
        """The new model, with the same names of inputs and outputs. Raises StageError for a subclassed model."""
        import tf_keras

        if not getattr(old, "_is_graph_network", False):
            rule = "must be a Sequential or functional model: the layers of a subclassed one can't be seen"
            raise StageError(Fault(rule, received=type(old).__name__, do="rebuild it as keras.Model(inputs, outputs)"))
        inputs = [
            tf_keras.Input(tensor.shape[1:], batch_size=tensor.shape[0], dtype=self.dtype or tensor.dtype, name=name)
            for tensor, name in zip(old.inputs, old.input_names, strict=True)
        ]
        self.origin |= {name: name for name in old.input_names}
        outputs = self.walk(old, [self.read(x) for x in inputs], None)
        self._name_outputs(outputs, [tensor._keras_history.layer.name for tensor in old.outputs])
        return tf_keras.Model(inputs, outputs if len(outputs) > 1 else outputs[0], name=old.name)

    def copy(self, call: Call) -> Any:
        """The same layer with the same weights, called in the new model."""
        old = call.layer

        def make(name: str) -> "tf_keras.layers.Layer":
            return type(old).from_config(old.get_config() | {"name": name})

        return self.put(call, make, *call.args, weights=old.get_weights(), **call.kwargs)

    def put(
        self,
        call: Call,
        make: "Callable[[str], tf_keras.layers.Layer]",
        *args: Any,
        suffix: str = "",
        weights: Sequence[Any] = (),
        **kwargs: Any,
    ) -> Any:
        """Call the new layer that `make` creates from its name, or the one of an earlier call of the same old layer.

        suffix   is appended to the old layer's name; it distinguishes several new layers for one old layer
        weights  values to set in the new layer, as for Keras's `set_weights`
        """
        key = (id(call.layer), suffix)
        first = key not in self._made
        if first:
            self._made[key] = make(self._free(call.layer.name + suffix))
            self.origin[self._made[key].name] = call.layer.name
        layer = self._made[key]
        if not layer._call_spec.expects_training_arg:  # the new layer may not have this argument
            kwargs.pop("training", None)
        output = layer(*args, **kwargs)
        if first and weights:
            layer.set_weights(weights)
        return output

    def _free(self, name: str) -> str:
        """The name, with a number if a layer of another nested model already has it."""
        taken = self.origin
        return name if name not in taken else next(n for i in range(1, 10**6) if (n := f"{name}_{i}") not in taken)

    def walk(self, old: "tf_keras.Model", inputs: Sequence[Any], training: bool | None) -> list[Any]:
        """The new model's tensors for the outputs of an old model, which may be nested."""
        import tensorflow as tf
        import tf_keras

        new = {id(tensor): given for tensor, given in zip(old.inputs, inputs, strict=True)}
        readers = _readers(old)

        def current(value: Any) -> Any:
            return new.get(id(value), value)

        for node in _calls(old):
            args, kwargs = tf.nest.map_structure(current, (node.call_args, node.call_kwargs))
            layer = node.layer
            if training is not None and layer._call_spec.expects_training_arg and kwargs.get("training") is None:
                kwargs["training"] = training
            if isinstance(layer, tf_keras.Model):
                nested = graph_of(layer)
                outputs = self.walk(nested, nested._flatten_to_reference_inputs(args[0]), kwargs.get("training"))
            else:
                alone = all(len(readers[id(parent)]) == 1 for parent in node.parent_nodes)
                outputs = self.visit(Call(layer, args, kwargs, readers[id(node)], alone))
            given = zip(tf.nest.flatten(node.outputs), tf.nest.flatten(outputs), strict=True)
            new.update((id(tensor), made) for tensor, made in given)
        return [new[id(tensor)] for tensor in old.outputs]

    def _name_outputs(self, outputs: Sequence[Any], names: Sequence[str]) -> None:
        """Give the layers that make the outputs their old names, which apps use."""
        layers = {layer.name: layer for layer in self._made.values()}
        for tensor, name in zip(outputs, names, strict=True):
            layer = tensor._keras_history.layer
            if layer.name == name or layer not in self._made.values():
                continue
            if name in layers:
                layers[name]._name = self._free(f"{name}_inner")
                self.origin[layers[name].name] = self.origin[name]
            self.origin[name] = self.origin.pop(layer.name)
            layer._name = name


def own_name(layer: "tf_keras.layers.Layer") -> str:
    """A layer's name, or that of the layer in it for one of tfmot's wrappers and roundings for quantization."""
    wraps = type(layer).__name__ in ("QuantizeWrapperV2", "QuantizeLayer")
    return str(layer.name).removeprefix("quant_") if wraps else str(layer.name)


def graph_of(nested: "tf_keras.Model") -> "tf_keras.Model":
    """A nested model. Raises StageError for a subclassed one."""
    if not getattr(nested, "_is_graph_network", False):
        rule = f"the nested model {nested.name!r} must be Sequential or functional"
        raise StageError(Fault(rule, received=type(nested).__name__, do="rebuild it as keras.Model(inputs, outputs)"))
    return nested


def _calls(model: "tf_keras.Model") -> Iterator[Any]:
    """Every call in the model, in topological order."""
    for depth in sorted(model._nodes_by_depth, reverse=True):
        yield from (node for node in model._nodes_by_depth[depth] if not node.is_input)


def _readers(model: "tf_keras.Model") -> dict[int, tuple[Any, ...]]:
    """Id of each call -> the layers that read its result; None among them stands for an output of the model."""
    outputs = {id(tensor) for tensor in model.outputs}
    found: dict[int, list[Any]] = {id(node): [] for node in _calls(model)}
    for node in _calls(model):
        if not outputs.isdisjoint(map(int, node.flat_output_ids)):
            found[id(node)].append(None)
        for parent in node.parent_nodes:
            found.setdefault(id(parent), []).append(node.layer)
    calls: dict[int, list[int]] = {}
    for node in _calls(model):
        calls.setdefault(id(node.layer), []).append(id(node))
    for nodes in calls.values():  # a shared layer is one layer in the new model too
        if len({tuple(map(type, found[node])) for node in nodes}) > 1:
            everyone = [reader for node in nodes for reader in found[node]]
            found |= dict.fromkeys(nodes, everyone)
    return {node: tuple(readers) for node, readers in found.items()}
