"""The drawing of one tensor's values: what the file holds as an area, what the Keras model holds as a line over it."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.core import units
from pipeline.report import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(edges: Sequence[float], counts: Sequence[int], float_counts: Sequence[int]) -> "Figure":
    """edges: of the bins, one more than counts (the file's values) and float_counts (the Keras model's).

    The height is logarithmic, log10(1 + count): the few values at the ends of a range are what a scale is made of.
    """
    figure, axes = canvas.axes(300, 150, left=12)
    _scale(axes, edges, max(*counts, *float_counts))
    heights, lines = ([math.log10(1 + count) for count in each] for each in (counts, float_counts))
    axes.stairs(heights, edges, fill=True, color=canvas.ACCENT, alpha=0.45, linewidth=0)
    axes.stairs(lines, edges, color=canvas.INK, linewidth=1.1)
    return figure


def _scale(axes: "Axes", edges: Sequence[float], most: int) -> None:
    """Real values across, in few figures; up a hair line at each power of ten, which needs no figure."""
    from matplotlib.ticker import MaxNLocator, MultipleLocator

    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, math.log10(1 + most) * 1.05 or 1)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(lambda value, _: units.number(value, 3))
    axes.yaxis.set_major_locator(MultipleLocator(1))
    axes.yaxis.set_major_formatter(lambda _value, _: "")
