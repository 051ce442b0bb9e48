"""What the report's drawings have in common: the paper they are on, and how it becomes SVG text.

The text stays text and takes the page's font; every colour is a CSS variable of the page, so one drawing serves light
and dark. The same content gives the same bytes.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from pipeline.report import phrases

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Stand-ins that matplotlib writes, and what the page's style sheet calls them. Without a page the ink is the text's.
INK, MUTED, LINE, ACCENT = "#010101", "#020202", "#030303", "#040404"
_COLOURS = {
    INK: "var(--ink, currentColor)",
    MUTED: "var(--muted, currentColor)",
    LINE: "var(--line, currentColor)",
    ACCENT: "var(--accent, currentColor)",
}
_FONT_SIZE = 11.0  # one unit of a drawing is one CSS pixel where it is shown at its own width


@contextmanager
def style() -> Iterator[None]:
    """Drawings inside are the same whatever the user's matplotlibrc says."""
    import matplotlib as mpl

    with mpl.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a glyph that matplotlib's font lacks: the reader's browser has it
        mpl.rcdefaults()
        mpl.rc("svg", fonttype="none")
        mpl.rc("font", family="DejaVu Sans", size=_FONT_SIZE)
        yield


def axes(width: int, height: int, left: int) -> "tuple[Figure, Axes]":
    """A figure of width x height CSS pixels with quiet axes: no frame, hair lines across."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    drawn = figure.add_axes((left / width, 46 / height, 1 - (left + 12) / width, 1 - 60 / height))
    for side in ("top", "right", "left"):
        drawn.spines[side].set_visible(False)
    drawn.spines["bottom"].set_color(LINE)
    drawn.grid(axis="y", color=LINE, linewidth=0.8)
    drawn.set_axisbelow(True)
    drawn.tick_params(length=0, pad=7, colors=MUTED)
    return figure, drawn


def svg(figure: "Figure", salt: str, label: str) -> str:
    """The figure as one <svg> element for an HTML page. The salt keeps ids of two drawings apart."""
    import matplotlib as mpl

    file = BytesIO()
    with mpl.rc_context({"svg.hashsalt": salt}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    root = ElementTree.fromstring(file.getvalue())
    _tidy(root)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.attrib.update({"role": "img", "aria-label": phrases.line(label), "stroke-linejoin": "round"})
    return ElementTree.tostring(root, encoding="unicode")


def _tidy(element: ElementTree.Element) -> None:
    """Without namespaces, metadata, style sheets and the ids of groups, which a page would hold twice."""
    for child in list(element):
        if child.tag.endswith(("metadata", "style")):
            element.remove(child)
        else:
            _tidy(child)
    element.tag = element.tag.rpartition("}")[2]
    element.attrib = {name.rpartition("}")[2]: _paint(value) for name, value in element.attrib.items()}
    if element.tag == "g":
        element.attrib.pop("id", None)


def _paint(value: str) -> str:
    """Stand-in colours as CSS variables, and no font but the page's."""
    for stand_in, variable in _COLOURS.items():
        value = value.replace(stand_in, variable)
    return "; ".join(filter(None, map(_font, value.split("; ")))) if "font" in value else value


def _font(rule: str) -> str:
    """The size alone: matplotlib before 3.11 writes ``font: 11px 'DejaVu Sans'``, later the size and the family."""
    if rule.startswith("font: "):
        return next(f"font-size: {word}" for word in rule.split() if word.endswith("px"))
    return "" if rule.startswith("font-family:") else rule
