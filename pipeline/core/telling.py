"""Find the words of an exception that say what is wrong: TensorFlow's are among stacks, arguments and graph nodes."""

import re

_MOST = 500  # characters
_CALLING = re.compile(r"^Exception encountered when calling layer ['\"]([^'\"]+)['\"]", re.MULTILINE)
_IN_USER_CODE = "in user code:"  # AutoGraph's first line, above a stack; the message is the last one
_NODE = re.compile(r"\[\[(?!\{\{)([^\]]+)\]\]")  # ``[[sequential/lstm/PartitionedCall]]``


def telling(error: BaseException) -> str:
    """Return the line of an exception that says what is wrong, with its type and the Keras layer, if it names one."""
    name, text = type(error).__name__, str(error)
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines or lines == [name]:
        return name
    if layers := _CALLING.findall(text):
        return _told(name, layers[-1], _in_call(lines))
    if lines[0].startswith("Graph execution error"):
        return _told(name, _layer(text), _in_graph(lines))
    return _told(name, "", lines[0])


def _told(name: str, layer: str, line: str) -> str:
    line = re.sub(r"\{\{[^}]*\}\} ?", "", line).strip()
    return f"{name}{f' in layer {layer!r}' if layer else ''}: {line[:_MOST]}"


def _in_call(lines: list[str]) -> str:
    """The line of an error in a layer's call: Keras puts it between the name of the layer and its arguments."""
    said = [line for line in lines if not _CALLING.match(line)]
    end = next((i for i, line in enumerate(said) if line.startswith("Call arguments received")), len(said))
    last = end - 1 if said[0] == _IN_USER_CODE else 0
    return said[last] if end else lines[0]


def _in_graph(lines: list[str]) -> str:
    """The line of an error in a graph: it is below a copy of the Python stack and above the names of graph nodes."""
    said = [line for line in lines[1:] if not line.startswith((" ", "\t", "Detected at", "Node:"))]
    return (said or lines)[-1]


def _layer(text: str) -> str:
    """The Keras layer that a graph node belongs to: the second part of its path."""
    nodes = _NODE.findall(text)
    return nodes[-1].split("/")[1] if nodes and nodes[-1].count("/") > 1 else ""
