"""What values the input of a Keras network takes, read from the network's config without Keras.

A network says with its layers, not with a data type, whether its input is a quantity: token ids are often declared as
float32, and pictures as uint8.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.data.spec import Whole

MOST = 2**31  # ids that int32 holds; where the network does not say how many there are
# Layers and functions that pass values on as they are, compare them, or look them up in a table.
_PASS = {
    "InputLayer",
    "Reshape",
    "Flatten",
    "Permute",
    "RepeatVector",
    "Cropping1D",
    "ZeroPadding1D",
    "SlicingOpLambda",
}
_PASS_FUNCTIONS = {
    "cast", "reshape", "expand_dims", "squeeze", "identity", "transpose", "tile", "concat", "__operators__.getitem",
}  # fmt: skip
_PART = {"SlicingOpLambda", "Cropping1D"}  # pass a part on
_COMPARE_FUNCTIONS = {
    "math.not_equal", "math.equal", "math.greater", "math.greater_equal", "math.less", "math.less_equal",
    "__operators__.ne", "__operators__.eq",
}  # fmt: skip
_LOOK_UP_FUNCTIONS = {"one_hot": "depth", "gather": "", "compat.v1.gather": "", "nn.embedding_lookup": ""}

Layer = Mapping[str, Any]


def whole(config: Any) -> Whole | None:
    """The whole numbers that the network's input takes; None for real numbers, and where the config can't be read.

    config: the JSON value that Keras 2 stores of a Sequential or functional model; untrusted.
    """
    try:
        layers = _layers(config)
        first = _first(config, layers)
        below = list(_tables(layers, first))
        if sizes := [size for size in below if size is not None]:
            columns = any(layer["class_name"] in _PART for layer in layers.values())  # each with a table of its own
            return Whole(max(sizes) if columns else min(sizes), ids=True) if len(sizes) == len(below) else None
        dtype = str(_settings(layers[first]).get("dtype"))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, StopIteration, RecursionError):
        return None
    limits = {"uint8": 2**8, "uint16": 2**16, "int8": 2**7, "int16": 2**15}
    return Whole(limits.get(dtype, MOST), ids=False) if dtype.startswith(("int", "uint")) else None


def _tables(layers: Mapping[str, Layer], name: str, depth: int = 0) -> Iterator[int | None]:
    """Number of rows of each table that looks up what the layer of that name gives; None for any other use."""
    if depth > len(layers):  # a chain longer than the network is a circle
        raise RecursionError
    for reader, layer in layers.items():
        if reader == name or not _mentions(layer.get("inbound_nodes"), name):
            continue
        kind, settings = str(layer["class_name"]), _settings(layer)
        if kind == "Embedding":
            yield int(settings["input_dim"])
        elif kind == "CategoryEncoding":
            yield int(settings["num_tokens"])
        elif "layers" in settings:
            inner = _layers(layer)
            yield from _tables(inner, _first(layer, inner))
        elif kind == "TFOpLambda":
            yield from _looked_up(layers, reader, settings.get("function"), layer, depth)
        elif kind in _PASS or (kind == "Activation" and settings.get("activation") == "linear"):
            yield from _tables(layers, reader, depth + 1)
        else:
            yield None


def _looked_up(
    layers: Mapping[str, Layer], reader: str, function: Any, layer: Layer, depth: int
) -> Iterator[int | None]:
    if function in _LOOK_UP_FUNCTIONS:
        found = dict(_arguments(layer.get("inbound_nodes"))).get(_LOOK_UP_FUNCTIONS[function])
        yield found if isinstance(found, int) else MOST
    elif function in _PASS_FUNCTIONS:
        yield from _tables(layers, reader, depth + 1)
    elif function not in _COMPARE_FUNCTIONS:
        yield None


def _layers(config: Any) -> dict[str, Layer]:
    """The layers of a model by name. Those of a Sequential model are given the calls that a functional one states."""
    found: dict[str, Layer] = {}
    before = None
    for layer in config["config"]["layers"]:
        name = str(layer.get("name") or layer["config"]["name"])
        if config["class_name"] == "Sequential":
            layer = {**layer, "inbound_nodes": [[[before, 0, 0, {}]]] if before else []}
        found[name] = layer
        before = name
    return found


def _first(config: Any, layers: Mapping[str, Layer]) -> str:
    """Name of the only input layer. Of a Sequential model without one, the first layer stands for it."""
    if config["class_name"] == "Sequential":
        first = next(iter(layers))
        if layers[first]["class_name"] != "InputLayer":
            raise ValueError("no input layer")
        return first
    (only,) = _inputs(config["config"]["input_layers"])
    return only


def _inputs(value: Any) -> list[str]:
    """Names in `input_layers`: [["ids", 0, 0]], or ["ids", 0, 0] for a single one."""
    return [str(value[0])] if value and isinstance(value[0], str) else [str(each[0]) for each in value]


def _settings(layer: Layer) -> Mapping[str, Any]:
    settings: Mapping[str, Any] = layer["config"]
    return settings


def _mentions(nodes: Any, name: str) -> bool:
    """Whether calls of a layer read a tensor of the layer of that name: ["name", call, output, ...] at any depth."""
    if isinstance(nodes, Mapping):
        return any(_mentions(each, name) for each in nodes.values())
    if not isinstance(nodes, Sequence) or isinstance(nodes, str):
        return False
    if len(nodes) >= 3 and nodes[0] == name and isinstance(nodes[1], int):
        return True
    return any(_mentions(each, name) for each in nodes)


def _arguments(nodes: Any) -> Iterator[tuple[str, Any]]:
    """The named arguments in the calls of a layer."""
    if isinstance(nodes, Mapping):
        yield from nodes.items()
    elif isinstance(nodes, Sequence) and not isinstance(nodes, str):
        for each in nodes:
            yield from _arguments(each)
