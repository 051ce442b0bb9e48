"""The drawings of the page."""

import itertools
import re
import subprocess
import sys
from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from pipeline.report import figures
from pipeline.report.document import Report
from tests.support.reports import failing, model, one_model, runs, sample, tensor


def test_the_drawings_are_the_same_bytes_twice() -> None:
    assert figures.draw(sample()) == figures.draw(sample())


def test_the_drawings_depend_on_their_key_alone() -> None:
    other = sample(environment={}, config={}, name="other", checks=())
    assert figures.key_content(other) == figures.key_content(sample())
    assert figures.draw(other) == figures.draw(sample())
    assert figures.key_content(failing()) != figures.key_content(sample())


@runs
def test_a_drawing_is_one_svg_in_the_colours_and_the_font_of_the_page(make: Callable[[], Report]) -> None:
    for text in figures.draw(make()).values():
        root = ElementTree.fromstring(text)
        assert (root.tag, root.get("role")) == ("svg", "img")
        assert root.get("aria-label")
        assert not re.search(r"#0[1-4]0[1-4]0[1-4]|DejaVu|<image|<style|<metadata", text)
        assert {"var(--ink, currentColor)", "var(--muted, currentColor)"} & set(re.findall(r"var\([^)]*\)", text))


def test_the_drawings_name_every_model_and_stage() -> None:
    drawn = figures.draw(sample())
    stages = [figures.curve(name, metric) for name in ("train", "prune", "qat") for metric in ("loss", "accuracy")]
    tensors = [figures.values(name, tensor(index, "")) for name in ("ptq", "small") for index in range(3)]
    assert list(drawn) == [figures.SCATTER, *stages, *tensors]
    texts = [node.text for node in ElementTree.fromstring(drawn[figures.SCATTER]).iter("text")]
    assert {"small", "ptq", "float (baseline)", "KiB"} <= set(texts)


def test_the_key_of_a_curve_is_a_file_name() -> None:
    assert figures.curve("train", "../a,b") == "curve,train,..%2Fa%2Cb"


def test_a_histogram_lays_the_float_values_over_the_files() -> None:
    drawn = figures.draw(sample())
    for index in range(3):
        root = ElementTree.fromstring(drawn[figures.values("small", tensor(index, ""))])
        area, line = (p for p in root.iter("path") if len(p.get("d", "").split("L")) > 40)
        assert "fill: var(--accent" in area.attrib["style"]
        assert "stroke: var(--ink" in line.attrib["style"]
        assert "fill: none" in line.attrib["style"]
        assert area.get("d") != line.get("d")
    assert figures.values("small", tensor(3, "")) not in drawn


@pytest.mark.parametrize("step", [0.0001, 0.002])
def test_twelve_names_in_the_scatter_do_not_meet(step: float) -> None:
    crowd = tuple(model(f"a_longer_name_{n}", 30_000 + 2500 * n, 0.9 + step * n, drop={}) for n in range(12))
    root = ElementTree.fromstring(figures.draw(sample(models=crowd))[figures.SCATTER])
    names = [node for node in root.iter("text") if "_name_" in (node.text or "")]
    assert len(names) == 12
    assert not [pair for pair in itertools.combinations(map(_around, names), 2) if _meet(*pair)]


def _around(node: ElementTree.Element) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a text of 11 px, whose letters are at least 5 px wide."""
    x, y, wide = float(node.attrib["x"]), float(node.attrib["y"]), 5.0 * len(node.text or "")
    anchor = node.attrib["style"].split("text-anchor: ")[1].split(";")[0]
    left = x - wide * {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor]
    return left, y - 8, left + wide, y


def _meet(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def test_names_in_the_scatter_do_not_meet() -> None:
    crowd = tuple(model(f"model_{n}", 30_000 + 40 * n, 0.97 + 0.0001 * n, drop={}) for n in range(6))
    root = ElementTree.fromstring(figures.draw(sample(models=crowd))[figures.SCATTER])
    names = [node for node in root.iter("text") if (node.text or "").startswith("model_")]
    assert len(names) == 6
    assert not [pair for pair in itertools.combinations(map(_around, names), 2) if _meet(*pair)]


def test_nothing_is_drawn_of_nothing() -> None:
    assert figures.draw(one_model()) == {}  # one model has nothing to compare, and its training diverged at once


def test_only_drawing_imports_matplotlib() -> None:
    code = (
        "import sys; from pipeline.report import figures, junit, markdown, page, table, phrases;"
        "sys.exit(bool({'matplotlib', 'rich', 'numpy', 'tensorflow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
