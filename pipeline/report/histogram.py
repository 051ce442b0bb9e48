"""The histogram of one tensor: the file's values as an area, the Keras model's values as a line over it."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.core import units
from pipeline.report import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(edges: Sequence[float], counts: Sequence[int], float_counts: Sequence[int]) -> "Figure":
    """Draw the histograms of the file's values (counts) and the Keras model's (float_counts).

    edges: the edges of the bins, one more than there are counts. The height is logarithmic, log10(1 + count), because
    the scale depends on the few values at the ends of the range.
    """
    figure, axes = canvas.axes(300, 150, left=12)
    _scale(axes, edges, max(*counts, *float_counts))
    heights, lines = ([math.log10(1 + count) for count in each] for each in (counts, float_counts))
    axes.stairs(heights, edges, fill=True, color=canvas.ACCENT, alpha=0.45, linewidth=0)
    axes.stairs(lines, edges, color=canvas.INK, linewidth=1.1)
    return figure


def _scale(axes: "Axes", edges: Sequence[float], most: int) -> None:
    """Scale the axes: few labels on x, in real units; on y a thin line without a label at each power of ten."""
    from matplotlib.ticker import MaxNLocator, MultipleLocator

    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, math.log10(1 + most) * 1.05 or 1)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(lambda value, _: units.number(value, 3))
    axes.yaxis.set_major_locator(MultipleLocator(1))
    axes.yaxis.set_major_formatter(lambda _value, _: "")
