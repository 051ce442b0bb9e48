"""What a stage tells beside its result: ``facts.json``, for later stages and for the report."""

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
    """What the report tells of a stage, beside its result."""
    facts = {"curves": curves or {}, "layers": list(layers), "notes": list(notes), **more}
    (work / FACTS).write_text(json.dumps(facts, indent=1), encoding="utf-8")


def read_facts(folder: Path) -> dict[str, Any]:
    """What `write_facts` wrote."""
    facts: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    return facts
