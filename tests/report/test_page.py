"""The report as a page: whole, safe, and with what was measured."""

import re
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256

import pytest

from pipeline.report import figures, markdown, page, phrases
from pipeline.report.document import Origin, Report
from tests.support.reports import EVIL, failing, many_classes, one_model, runs, sample, unverified


@runs
def test_the_page_is_whole_and_asks_for_nothing(make: Callable[[], Report]) -> None:
    run = make()
    text = page.html(run, figures.draw(run))
    assert text.lstrip().startswith("<!doctype html>")
    assert not re.search(r"<(?:link|script|img|iframe)[^>]+(?:href|src)=[\"'](?!data:)", text)
    assert not re.search(r"@import|url\((?!#)|xmlns|\bNone\b", text)
    ids = re.findall(r'\sid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(ids)


@runs
def test_the_page_escapes_what_the_report_says(make: Callable[[], Report]) -> None:
    run = make()
    text = page.html(run, figures.draw(run))
    assert text.count("<script>") == text.count("</script>") == 1
    assert EVIL not in text


def test_the_page_allows_just_its_own_script() -> None:
    text = page.html(sample(), {})
    script = text.split("<script>")[1].split("</script>")[0]
    allowed = b64encode(sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{allowed}'" in text


def test_the_page_names_the_bytes_that_ship() -> None:
    run = failing()
    text = page.html(run, figures.draw(run))
    hashes = [m.sha256 for m in run.models] + [split.sha256 for split in run.data.splits.values()]
    assert all(f">{value}</code>" in text for value in hashes)
    for said in ("288 weights: too few", "Zeros in conv2 fell", "tflite-micro is not installed", "cortex-m4"):
        assert said in text
    assert text.count('class="matrix"') == 3
    assert text.count("<figure") == 1 + 6 + 3 + 2 * 3


def test_the_first_screen_tells_what_ships_and_how_it_was_made() -> None:
    made = Origin(date="2026-11-28T14:02:31Z", command="edgepipe run a.yaml", commit="c0ffee" * 7, dirty=True)
    run = sample(origin=made)
    small = run.models[-1].model_copy(update={"inputs": (run.models[-1].input,), "outputs": (run.models[-1].output,)})
    text = page.html(sample(origin=made, models=(*run.models[:-1], small)), {}).split("<nav")[0]
    for said in ("2026-11-28 14:02 UTC", "<code>c0ffeec0ff</code> with changes", "edgepipe run a.yaml", "for cortex-m4",
                 'href="small.tflite"', small.sha256, "31,949 bytes", 'href="junit.xml"',
                 "round(real / 0.00390625) - 128, clamped to int8", "(int8 + 128) * 0.00390625"):  # fmt: skip
        assert said in text
    assert "with changes" not in page.html(sample(origin=made.model_copy(update={"dirty": False})), {})


def test_the_checks_are_a_matrix_whose_reasons_stand_below() -> None:
    run = failing()
    section = page.html(run, {}).split('id="checks"')[1].split("</section>")[0]
    promises = {(check.check, check.what, check.limit) for check in run.checks}
    assert section.count('<th scope="row">') == len(promises) < len(run.checks)
    assert section.count("state pass") == sum(check.status == "pass" for check in run.checks)
    assert "tflite-micro is not installed" in section.split("</table>")[1]


@runs
def test_on_a_phone_each_cell_is_told_with_its_name(make: Callable[[], Report]) -> None:
    text = page.html(make(), {})
    tables = re.findall(r'<table class="stack.*?</table>', text, re.S)
    assert tables
    assert not [cell for table in tables for cell in re.findall(r"<td(?! data-label=\"[^\"]).*?>", table)]


def test_the_page_of_files_that_no_run_made_has_no_empty_sections() -> None:
    run = sample(steps=(), config={}, checks=())
    text = page.html(run, {})
    assert not re.search('id="(notes|steps|config)"', text)
    assert "Name what must hold with --checks FILE." in text
    assert phrases.headline(run) == "No check ran: 3 models were measured, nothing about them is proved"


def test_the_page_works_without_drawings() -> None:
    text = page.html(sample(), {})
    assert "Learning curves" not in text
    assert "Against" in text


def test_few_classes_are_counted_and_many_are_a_heat_map() -> None:
    few, many = page.html(sample(), {}), page.html(many_classes(), {})
    assert "<td" in few.split('class="matrix"')[1]
    assert 'class="heat"' not in few
    assert 'class="matrix"' not in many
    assert 'viewBox="0 0 100 100"' in many
    assert "class number 1</span>" in many.split('class="stack misses"')[1]


def test_a_thousand_classes_stay_a_small_page() -> None:
    text = page.html(many_classes(1000), {})
    assert len(text) < 1_000_000


def test_the_page_defines_and_draws_the_errors_of_tensors() -> None:
    section = page.html(sample(), figures.draw(sample())).split('id="tensors"')[1].split('id="layers"')[0]
    for said in ("10 log<sub>10</sub>(Σf² / Σe²)", "√(mean e²) / scale", "Σqf / √(Σq² Σf²)", "mean |e|, max |e|",
                 "Σ|e| / Σ|f|", "1 − Σq² / Σf²", "either end of the integers"):  # fmt: skip
        assert said in section
    assert section.count("<svg") == 6
    assert "SQNR 31.4 dB," in section
    assert "saturated 51.4 %" in section
    assert "-0.0" not in section


def test_the_page_marks_the_pareto_front() -> None:
    text = page.html(sample(), figures.draw(sample()))
    assert text.count(">Pareto</span>") == 2  # ptq is larger and worse than small
    assert ">Pareto</span>" not in page.html(one_model(), {})


def test_the_page_compares_with_the_baseline() -> None:
    text = page.html(sample(), {})
    assert '<h2 id="against">Against float</h2>' in text
    assert "On the same 360 test examples." in text
    section = text.split('id="against"')[1].split("</section>")[0]
    for said in (">0.28<", ">−0.82 to 1.68<", "95 % interval", ">0.38<", "8: 3 of 36 lost"):
        assert said in section


def test_the_page_lists_metrics_and_classes() -> None:
    section = page.html(sample(), {}).split('id="metrics"')[1].split('id="layers"')[0]
    assert "<dt>f1_macro</dt><dd>97.4 %</dd>" in section
    assert "<dt>log_loss</dt><dd>0.0824</dd>" in section
    assert "the split has no example of 3" in section
    assert section.count('class="stack classes"') == 3
    assert section.count('data-label="F1"') == 30


def test_of_very_many_classes_the_weakest_are_listed() -> None:
    run = many_classes(page.MOST_CLASSES + 10)
    section = page.html(run, {}).split('id="metrics"')[1].split('id="layers"')[0]
    assert section.count('data-label="F1"') == 2 * page.MOST_CLASSES
    assert f"The {page.MOST_CLASSES} weakest of {page.MOST_CLASSES + 10} classes" in section


@pytest.mark.parametrize("make", [unverified, one_model])
def test_nothing_is_compared_without_a_baseline(make: Callable[[], Report]) -> None:
    text = page.html(make(), {})
    assert 'id="against"' not in text
    assert 'id="metrics"' not in text
    assert "McNemar" not in markdown.render(make())


def test_the_page_shows_the_arena_in_full_or_with_the_reason_why_not() -> None:
    text = page.html(sample(), {})
    assert "14,336 bytes" in text
    assert "the smallest that works; used 14,208, head 9,000 and tail 5,208" in text
    assert "<small>TFLM can&#39;t run this model: no kernel</small>" in text
