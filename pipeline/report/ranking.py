"""The drawing of a sensitivity ranking: what 8 bits in one layer, and in all but it, leave of the outputs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from pipeline.core import units
from pipeline.report import canvas, phrases

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 24  # layers in a drawing, the most sensitive ones
WIDTH, ROW = 560, 19  # CSS pixels, of the drawing and of a layer in it
_LETTER, _LONGEST = 6.2, 24  # CSS pixels of a letter, and letters of a name


class Bar(NamedTuple):
    """A layer. alone, spared: SQNR of the outputs in dB; None without any error."""

    layer: str
    alone: float | None
    spared: float | None


def draw(bars: Sequence[Bar], everything: float | None) -> "Figure":
    """A row for each layer, the most sensitive on top; a line at the SQNR with every layer in 8 bits."""
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
    """The drawing in words."""
    layers = "; ".join(f"{bar.layer} {units.decibel(bar.alone)}" for bar in bars[:MOST])
    return f"SQNR of the outputs with all layers in 8 bits {units.decibel(everything)}, with one alone: {layers}"


def _scale(axes: "Axes", bars: Sequence[Bar], everything: float | None) -> None:
    from matplotlib.ticker import MaxNLocator

    known = [value for bar in bars for value in (bar.alone, bar.spared, everything) if value is not None] or [0.0]
    air = max(2.0, 0.08 * (max(known) - min(known)))
    axes.set_xlim(min(known) - air, max(known) + air * 3)  # room for the names of the marks
    axes.set_ylim(len(bars) - 0.4, -0.9)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(lambda value, _: units.number(value, 3))
    axes.set_xlabel("dB", color=canvas.MUTED, loc="right")


def _row(axes: "Axes", row: int, bar: Bar, named: bool) -> None:
    """A dot for the layer alone, a ring for all but it."""
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
