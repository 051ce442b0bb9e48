"""What gets through of the progress that code reports."""

from pipeline.core import progress
from pipeline.core.progress import PACE, Progress


def test_who_listens_hears_what_code_at_any_depth_reports():
    heard, inner = [], []
    progress.step("nobody hears this")
    with progress.listening(heard.append):
        progress.step("converting")
        with progress.listening(inner.append):
            progress.step("example", 1, 2)
        progress.step("writing")
    progress.step("nor this")
    assert heard == [Progress("converting", 0, 0), Progress("writing", 0, 0)]
    assert inner == [Progress("example", 1, 2)]


def test_parts_of_the_work_get_through_at_a_pace_and_results_always():
    heard, now = [], [0.0]
    tell = progress.paced(heard.append, lambda: now[0])
    for batch in range(1, 1001):
        now[0] += PACE / 50
        tell(Progress("epoch", 0, 9, within=Progress("batch", batch, 1000)))
    assert 19 <= len(heard) <= 21
    for epoch in (1, 2, 3):
        tell(Progress("epoch", epoch, 9, {"loss": [0.5] * epoch}))
    tell(Progress("epoch", 3, 9, note="goes on"))
    tell(Progress("example", 1, 9))
    tell(Progress("example", 2, 9))
    tell(Progress("example", 9, 9))
    assert [(each.what, each.done) for each in heard[-6:]] == [
        ("epoch", 1), ("epoch", 2), ("epoch", 3), ("epoch", 3), ("example", 1), ("example", 9),
    ]  # fmt: skip


def test_the_figures_are_those_of_the_last_unit():
    assert Progress("epoch", 2, 9, {"loss": [0.9, 0.5], "none": []}).figures == {"loss": 0.5}
