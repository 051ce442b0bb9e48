"""Describe a .tflite file on the terminal: one line per fact, one row per op. ``--json`` does not cut long lists."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.core import units
from pipeline.data.contract import Contract
from pipeline.report import formula
from pipeline.report.terminal import print_facts, text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Facts = dict[str, Any]  # from `pipeline.audit.inspection`, or a part of them

ITEMS = 6  # maximum number of items in the list of one fact
ROWS = 40  # maximum number of rows in the table
LONGEST = 48  # maximum number of characters in a name
WIDE = 104  # minimum width of a terminal that also shows the weights, in columns


def render(facts: Facts, console: "Console") -> None:
    print_facts(_summary(facts), console)
    console.print(_ops(facts["layers"], console))
    if len(facts["layers"]) > ROWS:
        console.print(text(f"... and {len(facts['layers']) - ROWS} more ops; --json has all", console, "dim"))


def _summary(facts: Facts) -> Iterator[tuple[str, str]]:
    yield "file", facts["file"]
    yield "sha256", facts["sha256"]
    yield "size", f"{units.size(facts['bytes'])} ({facts['bytes']:,} bytes)"
    if facts["description"]:
        yield "description", _short(facts["description"])
    if facts["min_runtime_version"]:
        yield "runtime", f"TensorFlow Lite {_short(facts['min_runtime_version'])} or newer, as its converter says"
    yield "quantization", facts["quantization"]
    yield "integer-only", "yes" if facts["integer_only"] else f"no: {_listed(facts['float_uses'], _use, '; ', 4)}"
    for side in ("inputs", "outputs"):
        yield side, _listed(facts[side], _port, "; ")
    yield from _contract(facts)
    yield "signatures", _listed(facts["signatures"], _signature, "; ") if facts["signatures"] else "none"
    if len(facts["subgraphs"]) > 1:
        yield "subgraphs", f"{len(facts['subgraphs'])}: {_listed(facts['subgraphs'], _subgraph, '; ')}"
    yield "ops", _listed([*facts["ops"]], lambda name: _op(name, facts), ", ", 4 * ITEMS)
    if facts["custom_ops"]:
        yield "custom ops", _listed(facts["custom_ops"], _custom, ", ")
    yield "tensors", _tensors(facts["tensors"])
    if facts["dynamic"]:
        yield "open shapes", f"{len(facts['dynamic'])}: {_listed(facts['dynamic'], _short, '; ', 2)}"
        yield "", "microcontrollers need one shape: keras.Input(shape, batch_size=1) before it is converted"
    if facts["stateful"]:
        yield "state", "; ".join(_state(facts["state"]))
    if not facts["layers_known"]:
        yield "layers", "guessed from names of tensors, because the file does not say which layers its ops are of"
    yield "MACs", units.count(facts["macs"]) + (", without the custom ops" if facts["custom_ops"] else "")
    yield "parameters", units.count(facts["parameters"])
    yield "activations", f"{units.size(facts['peak_activation_bytes'])} live at the peak"


def _contract(facts: Facts) -> Iterator[tuple[str, str]]:
    """The preprocessing contract in the file's metadata. It is not verified, because the file is untrusted."""
    if facts["contract"] is None:
        yield "contract", facts["contract_why"]
        return
    carried = Contract.model_validate(facts["contract"])
    yield "contract", f"raw values x: {carried.takes}"
    if carried.ids:
        yield "", f"input: x as it is, as {facts['inputs'][0]['dtype'].lower()}; never scaled or rounded"
        yield from _labels(carried)
        return
    low, high = carried.real_range
    yield "", f"real values: {carried.formula}, {units.number(low)} to {units.number(high)}"
    (port,) = facts["inputs"]
    if port["scale"] is not None:
        yield "", f"input: {formula.stored(port['dtype'], port['scale'], port['zero_point'])}"
    yield from _labels(carried)


def _labels(carried: Contract) -> Iterator[tuple[str, str]]:
    if carried.labels:
        yield "", f"labels: {_listed(carried.labels, _short, ', ', 20)}"


def _listed(items: Sequence[Any], said: Callable[[Any], str], between: str, most: int = ITEMS) -> str:
    rest = [f"and {len(items) - most} more"] if len(items) > most else []
    return between.join([*map(said, items[:most]), *rest])


def _short(name: str) -> str:
    """Shorten a name to its end, which is most useful: the converter puts the layer's kernel there."""
    return name if len(name) <= LONGEST else f"…{name[1 - LONGEST :]}"


def _use(use: Facts) -> str:
    made = f", made by {use['made_by']}" if use["role"] == "reads" else ""
    layer = f" (layer {_short(use['layer'])!r})" if use["layer"] else ""
    return f"{_short(use['op'])} {use['role']} {use['dtype'].lower()} {_short(use['tensor'])!r}{made}{layer}"


def _port(port: Facts) -> str:
    scale = port["scale"]
    quantized = "" if scale is None else f", scale {units.number(scale, 6)}, zero point {port['zero_point']}"
    tensor, name = port["name"], port.get("signature_name")
    named = f"{_short(name)} ({_short(tensor)})" if name and name != tensor else _short(tensor)
    return f"{named} {port['dtype'].lower()} {_shape(port['shape'])}{quantized}"


def _shape(shape: Sequence[int]) -> str:
    """A shape as text, such as ``1x16x16x3``. A tensor without dimensions holds one number."""
    return "x".join(map(str, shape)) if shape else "scalar"


def _signature(signature: Facts) -> str:
    inputs, outputs = (_listed([*signature[side]], _short, ", ") for side in ("inputs", "outputs"))
    of = f" [subgraph {signature['subgraph']}]" if signature["subgraph"] else ""
    return f"{_short(signature['key'])}({inputs}) -> {outputs}{of}"


def _subgraph(graph: Facts) -> str:
    callers = f", run by {_listed(graph['run_by'], _short, ', ', 2)}" if graph["run_by"] else ""
    return f"{graph['index']} {_short(graph['name'])} ({_ops_of(graph['ops'])}{callers})"


def _ops_of(count: int) -> str:
    return "1 op" if count == 1 else f"{count} ops"


def _op(name: str, facts: Facts) -> str:
    count, version = facts["ops"][name], facts["op_versions"][name]
    return f"{_short(name)} v{version}" + (f" x{count}" if count > 1 else "")


def _custom(name: str) -> str:
    return f"{_short(name)} (needs TensorFlow's Flex delegate)" if name.startswith("Flex") else _short(name)


def _state(state: Facts) -> Iterator[str]:
    """What the file keeps between invocations, and what resets it."""
    for kind, what in (("variables", "variable tensors"), ("resources", "resource variables")):
        if state[kind]:
            yield f"{what}, kept from one run to the next: {_listed(state[kind], _short, ', ')}"
    if state["resources"]:
        yield "only a new interpreter gives resource variables their first values"
    if drawn := (*state["seeded"], *state["unseeded"]):
        yield f"random numbers{'' if state['seeded'] else ' without a seed'}: {', '.join(drawn)}"


def _tensors(tensors: Sequence[Facts]) -> str:
    """Summarize tensors, such as ``23, 11 of them constant: int8 15, int8 per channel 4, int32 4``."""
    kinds = Counter(
        tensor["dtype"].lower() + (" per channel" if len(tensor["scales"]) > 1 else "") for tensor in tensors
    )
    constant = sum(tensor["constant"] for tensor in tensors)
    counts = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())
    return f"{len(tensors)}, {constant} of them constant: {counts}" if tensors else "none"


def _ops(layers: Sequence[Facts], console: "Console") -> "Table":
    from rich.table import Table

    wide = console.width >= WIDE
    heads = [
        "op",
        "layer",
        "output",
        "type",
        "scale",
        "zero",
        *(["weights", "zeros"] if wide else []),
        "params",
        "MACs",
    ]
    table = Table(box=None, padding=(0, 1 if console.width < WIDE else 2, 0, 0), header_style="dim", pad_edge=False)
    for head in heads:
        right = head in ("zeros", "params", "MACs")
        table.add_column(head, overflow="fold", justify="right" if right else "left", no_wrap=right or head == "type")
    for row in layers[:ROWS]:
        table.add_row(*(text(cell, console) for cell in _cells(row, wide)))
    return table


def _cells(row: Facts, wide: bool) -> Iterator[str]:
    yield (f"{row['subgraph']}: " if row["subgraph"] else "") + _short(row["op"])
    yield _short(row["name"])
    yield _shape(row["shape"])
    yield row["dtype"].lower()
    yield units.number(row["scale"])
    yield units.DASH if row["zero_point"] is None else str(row["zero_point"])
    if wide:
        yield _shape(row["weights_shape"]) if row["weights_shape"] else units.DASH
        yield units.percent(row["sparsity"])
    yield units.count(row["parameters"]) if row["parameters"] else units.DASH
    yield units.count(row["macs"])
