"""`edgepipe compare`: two run folders against each other."""

import json

import pytest

from pipeline.audit.comparison import Difference, exceeded


@pytest.fixture
def compare(edgepipe, cold, sparser):
    """Compares a run with one that has more zeros; gives the exit code and the document."""

    def run(*options):
        folders = (pipeline.folder / "runs" / "tiny" for pipeline in (cold, sparser))
        code, out, _ = edgepipe("compare", *folders, "--json", *options)
        return code, json.loads(out)

    return run


def test_files_are_the_same_bytes_or_differ(compare):
    code, found = compare()
    assert code == 0
    assert {row["model"]: row["same_bytes"] for row in found["models"]} == {"float": True, "ptq": True, "small": False}


def test_flips_are_at_least_what_accuracy_moved(compare):
    models = {row["model"]: row for row in compare()[1]["models"]}
    assert models["ptq"]["flips"] == 0
    before, after = models["small"]["accuracy"]
    assert abs(after - before) * 359 <= models["small"]["flips"] + 1e-9


def test_layers_that_changed_are_told(compare):
    models = {row["model"]: row for row in compare()[1]["models"]}
    assert any("zeros 50.0 % -> 60.0 %" in line for line in models["small"]["layers"])


def test_a_limit_that_is_exceeded_is_exit_code_5(compare):
    code, found = compare("--fail-on", "gzip=0.5")
    assert code == 5
    assert len(found["exceeded"]) == 3


def test_what_can_not_be_judged_is_no_pass(compare):
    row = Difference.model_validate(compare()[1]["models"][0])
    assert len(list(exceeded([row.model_copy(update={"arena": (None, None)})], {"arena": 1.0}))) == 1
