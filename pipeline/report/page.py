"""The report as one HTML page that loads nothing from the network.

The template escapes all text from the report. Only the figures, which this package draws, are inserted unescaped.
"""

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup, escape

from pipeline.core import units
from pipeline.report import checksums, formula, ladder, matrix, outputs, phrases
from pipeline.report import figures as drawings
from pipeline.report.document import Report, StepFacts
from pipeline.report.settings_text import settings_text
from pipeline.report.template_cache import TemplateCache
from pipeline.stages.ladder.facts import LadderFacts
from pipeline.verify.model_facts import ClassFacts, LayerFacts, ModelFacts, Port, TensorError
from pipeline.verify.runtimes.runtime import RUNTIMES
from pipeline.verify.scoring.metrics import METRICS

MOST_COUNTS = 12  # with more classes, the confusion matrix is a heat map: numbers would not fit a phone
MOST_CLASSES = 50  # maximum number of rows in a table of classes
MOST_COLUMNS = 6  # maximum number of models in one matrix of checks, so that it fits a laptop
_SHADES = 6  # colours of a heat map: as many as the eye can distinguish


_UNIT = re.compile(r"(?<=\d) (?=%|points|[KM]?i?B\b)")  # a number and its unit stay on one line


class Count(NamedTuple):
    """A cell of a confusion matrix. share: fraction 0..1 of the row; kind: hit on the diagonal, else miss."""

    examples: int
    share: float
    kind: str

    @property
    def depth(self) -> float:
        """Strength of the colour, 0..0.6: text stays readable, and one mistake in a thousand is visible."""
        if not self.examples:
            return 0.0
        return 0.6 * self.share if self.kind == "hit" else 0.15 + 0.45 * self.share**0.5


class Miss(NamedTuple):
    """Examples of one class that were predicted as another. share: fraction 0..1 of the true class."""

    true: str
    predicted: str
    examples: int
    share: float


class Shade(NamedTuple):
    """All cells of one colour in a heat map, as an SVG path in cell units. depth: strength of the colour, 0..1."""

    kind: str
    depth: float
    path: str


class Matrix(NamedTuple):
    """One model's confusion matrix: `rows` of counts when there are few classes, else `shades` and `misses`."""

    model: ModelFacts
    score: str
    classes: int
    rows: list[tuple[str, list[Count]]]
    shades: list[Shade]
    misses: list[Miss]


class Drawing(NamedTuple):
    """One figure with its title."""

    title: str
    svg: Markup


def html(report: Report, figures: Mapping[str, str]) -> str:
    """The whole page. figures: the result of `figures.draw`; the page leaves out missing figures."""
    metric = phrases.metric(report)
    return _template().render(
        report=report,
        state=phrases.state(report),
        headline=_UNIT.sub("\u00a0", phrases.headline(report)),
        metric=metric,
        title=phrases.called(metric),
        called_title=phrases.called(metric)[:1].upper() + phrases.called(metric)[1:],
        made=report.origin,
        target=_target(report.config.get("target")),
        lead=phrases.lead(report),
        linked=bool(report.config),
        links=_links(report),
        blocks=list(matrix.matrix(report).blocks(MOST_COLUMNS)),
        reasons=[check for check in report.checks if check.status != "pass" and check.why],
        noted=[("checks", (doubtful,)) for doubtful in (phrases.doubtful(report),) if doubtful]
        + [(each.name, each.notes) for each in report.steps if each.notes]
        + [(each.name, each.notes) for each in report.models if each.notes],
        base=phrases.baseline(report),
        share=phrases.is_share(metric),
        rows=[(model, phrases.figures(report, model)) for model in report.models],
        scatter=Markup(figures.get(drawings.SCATTER, "")),
        curves=list(_curves(report.steps, figures)),
        matrices=_matrices(report),
        against=phrases.against(report),
        compared=phrases.compared(report),
        decides=phrases.decides(report),
        learnt=phrases.learnt(report),
        better="down" if METRICS[metric].lower_is_better else "up",
        worse=phrases.worse(report) if phrases.compared(report) else "",
        classes=[(model, _classes(model)) for model in report.models if model.metrics],
        runtimes=[model for model in report.models if model.runtimes],
        runtimes_by_name=RUNTIMES,
        mistaken=[model for model in report.models if model.mistakes],
        answered=list(outputs.rows(report)),
        answer_heads=outputs.HEADS,
        traced=[model for model in report.models if model.tensors],
        histograms={model.name: list(_histograms(model, figures)) for model in report.models},
        front=phrases.front(report) if drawings.SCATTER in figures else set(),
        left_out=phrases.left_out(report.steps),
        ladders=[(step, found, ladder.rows(found)) for step, found in ladder.ladders(report)],
        ladder_head=ladder.head,
        judged=ladder.judged,
        skipped=ladder.skipped,
        chosen=_chosen,
        ranked=[
            (step, Markup(figures.get(drawings.ranked(step.name), ""))) for step in report.steps if step.sensitivity
        ],
        config=settings_text(report.config),
    )


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        bytecode_cache=TemplateCache(Path(__file__).read_bytes()),  # the options stand here
    )
    environment.filters.update(
        size=units.size, percent=units.percent, ms=units.ms, seconds=units.seconds, count=units.count,
        number=units.number, decibel=units.decibel, whole=units.whole, measured=phrases.measured, limit=phrases.limit,
        shape=_shape, port=_port, points=units.points, scales=_scales, digest=_digest, breakable=_breakable,
        promise=phrases.promise, stored=_stored, real=_real, day=_day,
    )  # fmt: skip
    environment.globals.update(dash=units.DASH, marks=phrases.MARKS, verdicts=phrases.VERDICTS, score=phrases.score)
    environment.globals.update(called=phrases.called, worst_class=phrases.worst_class, confidence=phrases.confidence)
    return environment.get_template("page.html.j2")


def _curves(steps: Sequence[StepFacts], figures: Mapping[str, str]) -> Iterator[tuple[str, list[Drawing]]]:
    """Yield each step that has figures, with them."""
    for step in steps:
        keys = [(name, drawings.curve(step.name, name)) for name in drawings.metrics(step)]
        shown = [Drawing(name, Markup(figures[key])) for name, key in keys if key in figures]
        if shown:
            yield step.name, shown


def _histograms(model: ModelFacts, figures: Mapping[str, str]) -> Iterator[tuple[TensorError, Markup]]:
    """Yield each tensor that has a histogram, with it."""
    keys = [(tensor, drawings.values(model.name, tensor)) for tensor in model.tensors]
    return ((tensor, Markup(figures[key])) for tensor, key in keys if key in figures)


def _matrices(report: Report) -> list[Matrix]:
    """The confusion matrices, the baseline's first."""
    models = sorted((model for model in report.models if model.confusion), key=lambda model: not model.baseline)
    return [_matrix(report, model) for model in models]


def _matrix(report: Report, model: ModelFacts) -> Matrix:
    counts, metric = model.confusion, phrases.metric(report)
    labels = [*report.data.labels, *map(str, range(len(report.data.labels), len(counts)))]
    few = len(counts) <= MOST_COUNTS
    return Matrix(
        model,
        phrases.score(metric, model.metrics.get(metric)),
        len(counts),
        [(labels[true], list(_row(true, row))) for true, row in enumerate(counts)] if few else [],
        [] if few else _shades(counts),
        [] if few else _misses(counts, labels),
    )


def _classes(model: ModelFacts) -> list[ClassFacts]:
    """The classes of the table in label order. If there are more than MOST_CLASSES, those with the lowest F1 first."""
    if len(model.per_class) <= MOST_CLASSES:
        return list(model.per_class)
    return sorted(model.per_class, key=lambda facts: 1.0 if facts.f1 is None else facts.f1)[:MOST_CLASSES]


def _row(true: int, counts: Sequence[int]) -> Iterator[Count]:
    total = sum(counts)
    for predicted, count in enumerate(counts):
        yield Count(count, count / total if total else 0.0, "hit" if predicted == true else "miss")


def _found(counts: Sequence[Sequence[int]]) -> Iterator[tuple[int, int, Count]]:
    """Yield true class, predicted class and cell for each count that is not zero.

    A thousand classes have a million cells, nearly all of them zero.
    """
    for true, row in enumerate(counts):
        total = sum(row)
        for predicted, count in enumerate(row):
            if count:
                yield true, predicted, Count(count, count / total, "hit" if predicted == true else "miss")


def _shades(counts: Sequence[Sequence[int]]) -> list[Shade]:
    """A heat map as one path per colour, without empty cells: a thousand classes take some hundred KiB."""
    paths: dict[tuple[str, int], list[str]] = {}
    for true, predicted, cell in _found(counts):
        level = max(1, round(cell.share**0.5 * _SHADES))  # the square root makes small shares visible
        paths.setdefault((cell.kind, level), []).append(f"M{predicted} {true}h1v1h-1z")
    return [Shade(kind, level / _SHADES, "".join(parts)) for (kind, level), parts in sorted(paths.items())]


def _misses(counts: Sequence[Sequence[int]], labels: Sequence[str], most: int = 8) -> list[Miss]:
    """The most frequent confusions, largest first."""
    misses = [
        Miss(labels[true], labels[predicted], cell.examples, cell.share)
        for true, predicted, cell in _found(counts)
        if cell.kind == "miss"
    ]
    return sorted(misses, key=lambda miss: -miss.examples)[:most]


def _chosen(found: LadderFacts) -> str:
    """The stages of the chosen rung as in a config, without names and settings that are null."""
    stages = next(facts.stages for facts in found.rungs if facts.rung == found.chosen)
    return settings_text(stages)


def _shape(shape: Sequence[int] | None) -> str:
    return units.DASH if shape is None else "×".join(map(str, shape)) or "scalar"


def _port(port: Port | None) -> str:
    """An input or output as text, such as ``1×8×8×1 int8, scale 0.003906, zero point -128``."""
    if port is None:
        return units.DASH
    text = f"{_shape(port.shape)} {port.dtype.lower()}"
    if port.scale is None:
        return text
    return f"{text}, scale\u00a0{units.number(port.scale)}, zero\u00a0point\u00a0{units.whole(port.zero_point)}"


def _target(settings: Any) -> str:
    """The name of a config's target; "" without one."""
    return str(settings.get("name", "")) if isinstance(settings, dict) else settings or ""


def _stored(port: Port) -> str:
    return formula.stored(port.dtype, port.scale, port.zero_point)


def _real(port: Port) -> str:
    return formula.real(port.dtype, port.scale, port.zero_point)


def _day(date: str) -> str:
    """A date of `Origin` for people: ``2026-11-28 14:02 UTC``."""
    return f"{date[:10]} {date[11:16]} UTC"


def _links(report: Report) -> list[str]:
    """Names of the files that lie beside the page, without the models."""
    of_run = (*report.files, "config.yaml", checksums.FILE) if report.config else ()
    return ["report.json", "report.md", "junit.xml", *of_run]


def _scales(layer: LayerFacts) -> str:
    """How the weights are quantized: per tensor, or per channel with the number of scales."""
    if layer.weights_scales is None:
        return units.DASH
    return "per tensor" if layer.weights_scales == 1 else f"per channel, {layer.weights_scales}"


def _digest(text: str) -> str:
    """Hash of an inline script, as in a content security policy."""
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _breakable(name: str) -> Markup:
    """A Keras name with optional line breaks between its words, for narrow columns."""
    return Markup(re.sub(r"([/;:_.])", r"\1<wbr>", str(escape(name))))
