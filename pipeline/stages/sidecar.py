"""Read and write ``facts.json``, in which a stage describes its result for later stages and for the report."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FACTS = "facts.json"


def write_facts(
    work: Path,
    curves: Mapping[str, Sequence[float]] | None = None,
    layers: Sequence[Mapping[str, Any]] = (),
    notes: Sequence[str] = (),
    **more: Any,
) -> None:
    """Write the facts of a stage into its directory `work`, as JSON.

    curves  name of a training curve -> its value after each epoch
    layers  a report row for each layer
    notes   the `note` lines of the report
    more    further facts, as JSON values, which later stages read by name
    """
    facts = {"curves": curves or {}, "layers": list(layers), "notes": list(notes), **more}
    (work / FACTS).write_text(json.dumps(facts, indent=1), encoding="utf-8")


def read_facts(folder: Path) -> dict[str, Any]:
    """The facts that `write_facts` wrote into the directory of a finished stage."""
    facts: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    return facts
