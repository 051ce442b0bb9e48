"""The figure of a sensitivity ranking: SQNR of the outputs with one layer, or all layers but one, in 8 bits."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from pipeline.core import units
from pipeline.report import canvas, phrases

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 24  # maximum number of layers in a figure: the most sensitive ones
WIDTH, ROW = 560, 19  # width of the figure and height of a layer's row, in CSS pixels
_LETTER, _LONGEST = 6.2, 24  # width of a character in CSS pixels, and maximum number of characters in a name


class Bar(NamedTuple):
    """A layer. alone, spared: SQNR of the outputs in dB with only it, or all but it, in 8 bits; None if no error."""

    layer: str
    alone: float | None
    spared: float | None


def draw(bars: Sequence[Bar], everything: float | None) -> "Figure":
    """Draw a row for each layer, the most sensitive on top, and a line at the SQNR with all layers in 8 bits."""
    shown = bars[:MOST]
    names = [_short(bar.layer) for bar in shown]
    left = round(14 + _LETTER * max(map(len, names)))
    figure, axes = canvas.axes(WIDTH, 78 + ROW * len(shown), left)
    _scale(axes, shown, everything)
    axes.set_yticks(range(len(shown)), names)
    for row, bar in enumerate(shown):
        _row(axes, row, bar, named=row == 0)
    if everything is not None:
        axes.axvline(everything, color=canvas.MUTED, linewidth=1, dashes=(2, 3), zorder=1)
        axes.annotate("all in 8 bits", (everything, 1), (4, 3), xycoords=("data", "axes fraction"),
                      textcoords="offset points", color=canvas.MUTED)  # fmt: skip
    return figure


def said(bars: Sequence[Bar], everything: float | None) -> str:
    """Text alternative of the figure."""
    layers = "; ".join(f"{bar.layer} {units.decibel(bar.alone)}" for bar in bars[:MOST])
    return f"SQNR of the outputs with all layers in 8 bits {units.decibel(everything)}, with one alone: {layers}"


def _scale(axes: "Axes", bars: Sequence[Bar], everything: float | None) -> None:
    from matplotlib.ticker import MaxNLocator

    known = [value for bar in bars for value in (bar.alone, bar.spared, everything) if value is not None] or [0.0]
    air = max(2.0, 0.08 * (max(known) - min(known)))
    axes.set_xlim(min(known) - air, max(known) + air * 3)  # space for the names of the marks
    axes.set_ylim(len(bars) - 0.4, -0.9)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(lambda value, _: units.number(value, 3))
    axes.set_xlabel("dB", color=canvas.MUTED, loc="right")


def _row(axes: "Axes", row: int, bar: Bar, named: bool) -> None:
    """Draw a dot for the layer alone, and a ring for all layers but it."""
    for value, face, edge, name in (
        (bar.alone, canvas.ACCENT, canvas.ACCENT, "alone"),
        (bar.spared, "none", canvas.MUTED, "all but it"),
    ):
        if value is None:
            continue
        axes.plot([value], [row], "o", markersize=7, mfc=face, mec=edge, mew=1.5, clip_on=False, zorder=3)
        if named:
            axes.annotate(name, (value, row), (8, 0), textcoords="offset points", va="center", color=edge)


def _short(name: str) -> str:
    name = phrases.line(name)
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
