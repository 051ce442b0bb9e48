"""The verify stage: what it keeps compares with any baseline."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pipeline.stages.verify import Verify
from pipeline.verify.model_facts import ModelFacts
from pipeline.verify.scoring import classification

DECISIONS = {"float": [0, 0, 1, 1], "ptq": [0, 1, 1, 1], "small": [0, 0, 0, 1]}


def keep(folder: Path, names: Sequence[str]) -> None:
    """What a verify stage that read these models leaves, for examples of the classes 0, 0, 1 and 1."""
    y, decisions = np.array([0, 0, 1, 1]), np.array([DECISIONS[name] for name in names])
    found = [classification.classification(np.eye(2)[row], y, ["cat", "dog"]) for row in decisions]
    known = {"name": "", "file": "", "sha256": "", "bytes": 1, "gzip_bytes": 1, "verified": True}
    rows = [ModelFacts(**known, metrics=one.metrics, per_class=one.per_class).model_dump(mode="json") for one in found]
    (folder / "measured.json").write_text(json.dumps(rows), encoding="utf-8")
    np.savez(folder / "decisions.npz", y=y, decisions=decisions)


@pytest.mark.parametrize(
    ("baseline", "flips", "drop"),
    [
        ("float", {"ptq": (1, 0, "cat"), "small": (1, 0, "dog")}, 0.25),
        ("ptq", {"float": (0, 1, None), "small": (1, 1, "dog")}, 0.0),
        (None, {}, None),
    ],
)
def test_what_verify_keeps_compares_with_any_baseline(
    tmp_path: Path, baseline: str | None, flips: dict[str, tuple[int, int, str | None]], drop: float | None
) -> None:
    stage = Verify(stage="verify", of=tuple(DECISIONS), baseline=baseline)
    keep(tmp_path, stage.reads())
    models = {model.name: model for model in stage.measured(tmp_path)}
    found = {name: model.paired for name, model in models.items() if model.paired}
    assert {
        name: (paired.lost, paired.gained, paired.worst.label if paired.worst else None)
        for name, paired in found.items()
    } == flips
    assert [name for name, model in models.items() if model.baseline] == ([baseline] if baseline else [])
    assert models["small"].drop.get("accuracy") == drop
