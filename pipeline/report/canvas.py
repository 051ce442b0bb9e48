"""Common parts of the report's figures: their axes and style, and their conversion to SVG.

Text stays text and uses the page's font. Every colour is a CSS variable of the page, so that one figure works on light
and dark backgrounds. The same content gives the same bytes.
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

# Placeholder colours that matplotlib writes, and the CSS variables that replace them. Outside a page, INK is the text's
# colour.
INK, MUTED, LINE, ACCENT = "#010101", "#020202", "#030303", "#040404"
_COLOURS = {
    INK: "var(--ink, currentColor)",
    MUTED: "var(--muted, currentColor)",
    LINE: "var(--line, currentColor)",
    ACCENT: "var(--accent, currentColor)",
}
_FONT_SIZE = 11.0  # one unit of a figure is one CSS pixel when it is shown at its own width


@contextmanager
def style() -> Iterator[None]:
    """Use fixed matplotlib settings inside the block, whatever the user's matplotlibrc says."""
    import matplotlib as mpl

    with mpl.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about glyphs that matplotlib's font lacks; the browser has them
        mpl.rcdefaults()
        mpl.rc("svg", fonttype="none")
        mpl.rc("font", family="DejaVu Sans", size=_FONT_SIZE)
        yield


def axes(width: int, height: int, left: int) -> "tuple[Figure, Axes]":
    """A figure of width x height CSS pixels, with axes without a frame and with thin horizontal grid lines."""
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
    """The figure as one <svg> element for an HTML page. The salt makes the ids of different figures differ."""
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
    """Remove namespaces, metadata, style sheets and ids of groups, which would occur twice in a page."""
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
    """Replace placeholder colours with CSS variables, and remove the font family so that the page's font is used."""
    for stand_in, variable in _COLOURS.items():
        value = value.replace(stand_in, variable)
    return "; ".join(filter(None, map(_font, value.split("; ")))) if "font" in value else value


def _font(rule: str) -> str:
    """Keep only the font size. matplotlib before 3.11 writes ``font: 11px 'DejaVu Sans'``, later size and family."""
    if rule.startswith("font: "):
        return next(f"font-size: {word}" for word in rule.split() if word.endswith("px"))
    return "" if rule.startswith("font-family:") else rule
