"""The report's figures as SVG text: size against accuracy, learning curves, histograms of tensors, rankings.

matplotlib takes a second to import, so only `draw` imports it. A caller can cache the figures by `key_content`.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import quote

from pipeline.core import units
from pipeline.report import canvas, histogram, phrases, ranking
from pipeline.report.document import Report, StepFacts
from pipeline.report.ranking import Bar
from pipeline.verify.model_facts import TensorError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

UNDRAWN = ("learning_rate", "val_unpredicted")  # curves without a figure
SCATTER = "scatter"


class Point(NamedTuple):
    """A model in the scatter plot. kib: file size in KiB; score: the metric; front: whether it is Pareto-optimal."""

    name: str
    kib: float
    score: float
    baseline: bool
    front: bool


def curve(step: str, metric: str) -> str:
    """Key of a learning curve in the result of `draw`. It is a valid file name for any metric name."""
    return f"curve,{quote(step, safe='')},{quote(metric, safe='')}"


def values(model: str, tensor: TensorError) -> str:
    """Key of a tensor's histogram in the result of `draw`."""
    return f"values,{quote(model, safe='')},{tensor.index}"


def ranked(step: str) -> str:
    """Key of a sensitivity ranking in the result of `draw`."""
    return f"ranking,{quote(step, safe='')}"


def metrics(step: StepFacts) -> list[str]:
    """Names of the metrics in a step's learning curves. A metric and its val_ counterpart share a figure."""
    names = dict.fromkeys(name.removeprefix("val_") for name in step.curves if name not in UNDRAWN)
    return [name for name in names if any(map(math.isfinite, (*_values(step, name), *_values(step, f"val_{name}"))))]


def _values(step: StepFacts, name: str) -> tuple[float, ...]:
    return step.curves.get(name, ())


def key_content(report: Report) -> bytes:
    """All data that the figures depend on, as canonical JSON."""
    return json.dumps(_content(report), sort_keys=True, ensure_ascii=True).encode()


def _content(report: Report) -> dict[str, Any]:
    name = phrases.metric(report)
    front = phrases.front(report)
    points = [
        Point(model.name, model.bytes / 1024, model.metrics[name], model.baseline, model.name in front)
        for model in report.models
        if math.isfinite(model.metrics.get(name, math.nan))
    ]
    curves = [
        (step.name, metric, _values(step, metric), _values(step, f"val_{metric}"))
        for step in report.steps
        for metric in metrics(step)
    ]
    histograms = [
        (values(model.name, tensor), tensor.layer, tensor.edges, tensor.counts, tensor.float_counts)
        for model in report.models
        for tensor in model.tensors
        if tensor.counts
    ]
    rankings = [
        (ranked(step.name), [Bar(row.layer, row.alone.sqnr_db, row.spared.sqnr_db) for row in found.layers],
         found.all.sqnr_db)
        for step in report.steps
        if (found := step.sensitivity)
    ]  # fmt: skip
    return {"metric": name, "points": points, "curves": curves, "histograms": histograms, "rankings": rankings}


def draw(report: Report) -> dict[str, str]:
    """Draw all figures: key -> SVG text. `SCATTER` exists if there are two models to compare."""
    with canvas.style():
        return dict(_drawings(_content(report)))


def _drawings(content: dict[str, Any]) -> Iterator[tuple[str, str]]:
    points, metric = content["points"], content["metric"]
    if len(points) > 1:
        label = f"Size against {metric}: " + "; ".join(map(_said(metric), points))
        yield SCATTER, canvas.svg(_scatter(points, metric), SCATTER, label)
    for step, name, train, validation in content["curves"]:
        label = f"{name} of {step} by epoch, " + _ends(name, train, validation)
        yield curve(step, name), canvas.svg(_curve(name, train, validation), curve(step, name), label)
    for key, layer, edges, counts, float_counts in content["histograms"]:
        label = f"Values of {layer} from {units.number(edges[0])} to {units.number(edges[-1])}"
        yield key, canvas.svg(histogram.draw(edges, counts, float_counts), key, label)
    for key, bars, everything in content["rankings"]:
        yield key, canvas.svg(ranking.draw(bars, everything), key, ranking.said(bars, everything))


def _said(metric: str) -> Callable[[Point], str]:
    return lambda point: f"{point.name} {units.size(round(point.kib * 1024))}, {phrases.score(metric, point.score)}"


def _ends(name: str, train: Sequence[float], validation: Sequence[float]) -> str:
    """Text alternative of a learning curve: the last value of each line."""
    lines = (("train", train), ("validation", validation))
    return "at the end " + ", ".join(f"{what} {phrases.score(name, line[-1])}" for what, line in lines if line)


def _write_ticks(axes: "Axes", metric: str) -> None:
    """Write at most five tick labels on the y axis, in the metric's unit."""
    from matplotlib.ticker import MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    ticks = axes.get_yticks()
    fine = len(ticks) > 1 and ticks[1] - ticks[0] < 0.0099
    share = phrases.is_share(metric)
    axes.yaxis.set_major_formatter(
        lambda value, _: units.percent(value, 1 if fine else 0) if share else units.number(value, 3)
    )


def _scatter(points: Sequence[Point], metric: str) -> "Figure":
    """Scatter plot: file size in KiB on x, the metric on y. The baseline is a ring with a horizontal line."""
    figure, axes = canvas.axes(420, 310, left=52)
    sizes, scores = [point.kib for point in points], [point.score for point in points]
    _scale_sizes(axes, min(sizes), max(sizes))
    axes.set_ylim(*_range(scores, 0.004 if phrases.is_share(metric) else 0.0, phrases.is_share(metric)))
    _write_ticks(axes, metric)
    axes.set_xlabel("KiB", color=canvas.MUTED, loc="right")
    front = sorted((point.kib, point.score) for point in points if point.front)
    axes.plot(*zip(*front, strict=True), color=canvas.ACCENT, linewidth=1, alpha=0.6, zorder=2)
    for point in points:
        _mark(axes, point)
    _label(figure, axes, points)
    return figure


def _scale_sizes(axes: "Axes", least: float, most: float) -> None:
    """Scale the x axis in KiB, with room for names; logarithmic if the largest file is over 8 times the smallest."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    if most > 8 * least:
        axes.set_xscale("log")
        axes.set_xlim(least / 1.5, most * 1.9)
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if most < 300 * least else (1.0,)))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        air = max(0.18 * (most - least), 0.02 * most)
        axes.set_xlim(max(0.0, least - air), most + air)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(
        lambda value, _: units.whole(round(value)) if value >= 100 else units.number(value, 3)
    )


def _range(values: Sequence[float], least: float, share: bool) -> tuple[float, float]:
    """Axis limits with a margin around the values, at least `least` wide, so that noise does not look large."""
    low, high = min(values), max(values)
    air = max((high - low) * 0.25, least, abs(high) * 1e-3, 1e-9)
    bottom = max(low - air, -air / 4) if low >= 0 else low - air
    return bottom, min(high + air, 1.0 + air / 4) if share else high + air


def _mark(axes: "Axes", point: Point) -> None:
    face = "none" if point.baseline else canvas.ACCENT
    if point.baseline:
        axes.axhline(point.score, color=canvas.MUTED, linewidth=1, dashes=(2, 3), zorder=1)
    edge = canvas.MUTED if point.baseline else canvas.ACCENT
    pale = 1.0 if point.front or point.baseline else 0.4
    axes.plot(
        [point.kib], [point.score], "o", markersize=8, mfc=face, mec=edge, mew=1.6, alpha=pale, clip_on=False, zorder=3
    )


def _label(figure: "Figure", axes: "Axes", points: Sequence[Point]) -> None:
    """Write a name beside each point, at the first position without a collision with a point, line, name or edge."""
    figure.draw_without_rendering()
    around = [axes.transData.transform((point.kib, point.score)) for point in points]
    taken = [_box(x - 6, y - 6, x + 6, y + 6) for x, y in around]
    lines = [y for (_, y), point in zip(around, points, strict=True) if point.baseline]
    taken += [_box(axes.bbox.x0, y - 1, axes.bbox.x1, y + 1) for y in lines]
    front = sorted((x, y) for (x, y), point in zip(around, points, strict=True) if point.front)
    taken += [box for start, end in pairwise(front) for box in _along(start, end)]
    names: list[Bbox] = []
    for point in points:
        place = _place(axes, point, taken, names)
        names.append(_name(axes, point, place).get_window_extent())
        if place in _AWAY:
            line = {"arrowstyle": "-", "color": canvas.MUTED, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 5}
            axes.annotate("", (point.kib, point.score), place[:2], textcoords="offset points", arrowprops=line)
            taken += _leader(axes, point, place)


def _along(start: tuple[float, float], end: tuple[float, float], step: float = 4.0) -> "Iterator[Bbox]":
    """Yield small boxes along a line, `step` pixels apart."""
    count = max(1, math.ceil(math.dist(start, end) / step))
    for part in range(1, count):
        x, y = (a + (b - a) * part / count for a, b in zip(start, end, strict=True))
        yield _box(x - 1, y - 1, x + 1, y + 1)


def _box(left: float, bottom: float, right: float, top: float) -> "Bbox":
    from matplotlib.transforms import Bbox

    return Bbox([[left, bottom], [right, top]])


Anchor = tuple[float, float, Literal["left", "center", "right"], Literal["bottom", "center", "top"]]
_BESIDE: tuple[Anchor, ...] = (
    (11, 0, "left", "center"), (0, 11, "center", "bottom"), (0, -11, "center", "top"), (-11, 0, "right", "center"),
    (9, 9, "left", "bottom"), (9, -9, "left", "top"), (-9, 9, "right", "bottom"), (-9, -9, "right", "top"),
)  # fmt: skip
_AWAY: tuple[Anchor, ...] = tuple(
    (right, 14.0 * up * side, "left" if right > 0 else "right", "center")
    for up in range(1, 14)
    for side in (1, -1)
    for right in (34.0, -34.0, 68.0, -68.0, 6.0, -6.0)
)


def _place(axes: "Axes", point: Point, taken: "list[Bbox]", names: "list[Bbox]") -> Anchor:
    """The first position for a name without collisions, or the one with the fewest. Its line crosses no name."""
    tried: list[tuple[int, Anchor]] = []
    for place in (*_BESIDE, *_AWAY):
        text = _name(axes, point, place)
        box = text.get_window_extent()
        crossed = sum(map(bool, (part.overlaps(name) for part in _leader(axes, point, place) for name in names)))
        tried.append((100 * _collisions(axes, box, names) + 3 * _collisions(axes, box, taken) + crossed, place))
        text.remove()
        if not tried[-1][0]:
            break
    return min(tried, key=lambda trial: trial[0])[1]


def _leader(axes: "Axes", point: Point, place: Anchor) -> "list[Bbox]":
    """The line from a point to a distant name, as boxes."""
    if place not in _AWAY:
        return []
    x, y = axes.transData.transform((point.kib, point.score))
    return list(_along((x, y), (x + place[0], y + place[1])))


def _name(axes: "Axes", point: Point, place: Anchor) -> "Annotation":
    right, up, across, along = place
    return axes.annotate(
        _short(point.name) + (" (baseline)" if point.baseline else ""), (point.kib, point.score),
        (right, up), textcoords="offset points", ha=across, va=along,
        color=canvas.MUTED if point.baseline else canvas.INK, parse_math=False, annotation_clip=False,
    )  # fmt: skip


def _collisions(axes: "Axes", box: "Bbox", taken: "list[Bbox]") -> int:
    """Number of collisions of a name; an edge of the figure counts as four."""
    page = axes.figure.bbox
    outside = box.x0 < page.x0 or box.x1 > page.x1 or box.y0 < axes.bbox.y0 or box.y1 > page.y1
    return 4 * bool(outside) + sum(map(bool, map(box.overlaps, taken)))


def _short(name: str, most: int = 22) -> str:
    name = phrases.line(name)
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _curve(metric: str, train: Sequence[float], validation: Sequence[float]) -> "Figure":
    """Learning curve by epoch, from 1: training as a thin line, validation as a thick one, each labelled at its end."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = canvas.axes(360, 230, left=52)
    finite = [value for value in (*train, *validation) if math.isfinite(value)]
    share = phrases.is_share(metric)
    axes.set_ylim(*_range(finite, 0.005 if share else 0.0, share))
    epochs = max(len(train), len(validation))
    axes.set_xlim(0.5 if epochs == 1 else 1, max(1.5, 1 + (epochs - 1) * 1.28))  # room for the names
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    _write_ticks(axes, metric)
    axes.set_xticks([tick for tick in axes.get_xticks() if 1 <= tick <= epochs])
    axes.set_xlabel("epoch", color=canvas.MUTED, loc="right")
    for line, colour, width in ((train, canvas.MUTED, 1.2), (validation, canvas.ACCENT, 2.0)):
        axes.plot(range(1, len(line) + 1), line, color=colour, linewidth=width, marker="o" if len(line) == 1 else "")
    _name_ends(axes, train, validation)
    return figure


def _name_ends(axes: "Axes", train: Sequence[float], validation: Sequence[float]) -> None:
    """Write `train` and `validation` at the ends of their lines, at least 13 px apart."""
    named = (("train", train, canvas.MUTED), ("validation", validation, canvas.ACCENT))
    ends = [(name, line, colour) for name, line, colour in named if line and math.isfinite(line[-1])]
    heights = [axes.transData.transform((1, line[-1]))[1] for _, line, _ in ends]
    gap = heights[-1] - heights[0] if ends else 0.0
    push = max(0.0, 13 - abs(gap)) / 2 if len(ends) == 2 else 0.0
    for index, (name, line, colour) in enumerate(ends):
        up = push if (index == 1) == (gap >= 0) else -push
        axes.annotate(name, (len(line), line[-1]), (6, up), textcoords="offset points", va="center", color=colour)
