"""The checks as junit.xml for CI systems: one test case per check. An unavailable check is skipped, with its reason."""

import re
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from pipeline.report import phrases
from pipeline.report.document import Report
from pipeline.verify.model_facts import CheckResult

_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")  # XML 1.0, section 2.2


def render(report: Report) -> str:
    """The XML document as text. It has no times, because the time of a single check is not measured."""
    states = [check.status for check in report.checks]
    totals = {
        "tests": str(len(states)),
        "failures": str(states.count("fail")),
        "errors": "0",
        "skipped": str(states.count("unavailable")),
    }
    root = Element("testsuites", {"name": "edgepipe", **totals})
    suite = SubElement(root, "testsuite", {"name": _text(report.name), **totals})
    for check in report.checks:
        suite.append(_case(report, check))
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _case(report: Report, check: CheckResult) -> Element:
    said = check.what and check.what != check.check.replace("_", "-")
    name = f"{check.check}: {check.what}" if said else check.check
    case = Element("testcase", {"classname": _text(f"{report.name}.{check.model}"), "name": _text(name)})
    found = phrases.sentence(check)
    if check.status == "fail":
        SubElement(case, "failure", {"message": _text(found)}).text = _text(f"{found}\n{check.why}".strip())
    elif check.status == "unavailable":
        SubElement(case, "skipped", {"message": _text(f"{found}: {check.why or 'no reason was given'}")})
    else:
        SubElement(case, "system-out").text = _text(found)
    return case


def _text(text: str) -> str:
    """Text without the characters that XML does not allow."""
    return _NOT_XML.sub("\ufffd", text)
