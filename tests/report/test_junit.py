"""The report in JUnit's XML."""

from collections.abc import Callable
from xml.etree import ElementTree

from pipeline.report import junit
from pipeline.report.document import Report
from tests.support.reports import failing, runs


@runs
def test_junit_has_a_case_a_check(make: Callable[[], Report]) -> None:
    run = make()
    root = ElementTree.fromstring(junit.render(run).encode())
    assert len(root.findall(".//testcase")) == int(root.attrib["tests"]) == len(run.checks)


def test_junit_tells_failures_from_what_could_not_be_measured() -> None:
    root = ElementTree.fromstring(junit.render(failing()).encode())
    assert (root.attrib["failures"], root.attrib["skipped"]) == ("1", "1")
    failure, skipped = root.find(".//failure"), root.find(".//skipped")
    assert failure is not None
    assert failure.attrib["message"] == (
        "model 'ptq': drop of accuracy must be at most 1.00 points, measured 2.00 points"
    )
    assert skipped is not None
    assert skipped.attrib["message"] == (
        "model 'ptq': arena must be at most 32.0 KiB, not measured: tflite-micro is not installed"
    )
    assert root.find(".//*[@time]") is None
