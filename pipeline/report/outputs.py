"""Outputs of files on examples without labels, as rows of text: differences between runtimes and to the baseline."""

from collections.abc import Iterator
from typing import NamedTuple

from pipeline.core import units
from pipeline.report.document import Report
from pipeline.verify.model_facts import ModelFacts, OutputFacts, RuntimeFacts
from pipeline.verify.runtimes.runtime import RUNTIMES

HEADS = ("output", "against", "differ", "mean", "largest", "SQNR", "cosine")


class Row(NamedTuple):
    """Cells in the order of HEADS. why: the reason when there are no figures."""

    cells: tuple[str, ...]
    why: str = ""


def rows(report: Report) -> Iterator[Row]:
    """The rows of all models but the baseline.

    The other runtimes are compared with XNNPACK, which has a row of its own only if it failed.
    """
    compared = any(model.baseline for model in report.models)
    for model in report.models:
        for output in () if model.baseline else model.answers:
            for facts in output.runtimes:
                if facts.unavailable or facts.runtime != "xnnpack":
                    yield _runtime(output.name, facts)
            if compared:
                yield _baseline(output.name, output)


def _runtime(name: str, facts: RuntimeFacts) -> Row:
    largest = f"{facts.max_lsb} LSB" if facts.max_lsb is not None else units.number(facts.max_abs)
    shown = (units.percent(facts.differ), units.DASH, largest, units.DASH, units.DASH)
    return Row((name, RUNTIMES[facts.runtime].short, *shown), facts.unavailable)


def _baseline(name: str, output: OutputFacts) -> Row:
    error = output.error
    if error is None:
        return Row((name, "baseline", *(5 * (units.DASH,))), output.error_why)
    mean, largest = units.number(error.mean_abs), units.number(error.max_abs)
    cosine = units.number(error.cosine, 6)
    return Row((name, "baseline", units.DASH, mean, largest, units.decibel(error.sqnr_db), cosine))


def missing(model: ModelFacts) -> str:
    """The reason why a file with examples was not measured; "" when it was measured or had no examples."""
    return model.missing.get("accuracy", "") if not model.metrics else ""
