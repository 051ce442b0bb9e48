"""`edgepipe compare`: two run folders against each other."""

import json

import pytest

from pipeline.audit.comparison import Comparison, Difference, exceeded


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
    row = Difference.model_validate(compare()[1]["models"][0]).model_copy(update={"arena": (None, None)})
    (said,) = exceeded(Comparison((row,), (), (), ()), {"arena": 1.0})
    assert said == "float: arena was not measured in both runs, and the limit is 1"


@pytest.fixture
def changed(edgepipe, cold, tmp_path):
    """Compares a run with a copy of its report that a function has changed."""

    def run(change, *options):
        document = json.loads((cold.folder / "runs" / "tiny" / "report.json").read_text())
        change(document)
        (tmp_path / "report.json").write_text(json.dumps(document))
        code, out, err = edgepipe("compare", cold.folder / "runs" / "tiny", tmp_path / "report.json", *options)
        return code, out, err

    return run


def test_a_model_that_is_gone_is_told_and_exceeds_any_limit(changed):
    def lose(document):
        document["models"] = [model for model in document["models"] if model["name"] != "ptq"]

    code, out, _ = changed(lose, "--json")
    assert (code, json.loads(out)["lost"], json.loads(out)["new"]) == (0, ["ptq"], [])
    code, out, _ = changed(lose, "--fail-on", "bytes=2")
    assert code == 5
    assert "ptq: is in run A only" in out


def test_a_check_that_no_longer_passes_needs_no_limit(changed):
    def fail(document):
        document["checks"][0]["status"] = "fail"

    code, out, _ = changed(fail)
    assert code == 5
    assert "checks is 1, and the limit is 0" in out
    assert changed(fail, "--fail-on", "checks=1")[0] == 0


def test_promises_are_matched_whatever_runtime_decided_and_however_often_they_are_made(changed):
    """A promise that is kept nowhere, or that only one run makes, is none that was lost."""

    def twice(document):
        first = document["checks"][0]
        document["checks"] += [first | {"limit": 2.0, "status": "fail"}, first | {"what": "other", "status": "fail"}]

    def elsewhere(document):
        first = document["checks"][0]
        first.update(runtime="tflm", what="accuracy on TFLite Micro", status="fail")

    assert changed(twice)[0] == 0
    code, out, _ = changed(elsewhere)
    assert code == 5
    assert "no longer passes: accuracy on TFLite Micro" in out


def test_runs_on_other_examples_are_told(changed):
    def other(document):
        document["data"]["splits"]["test"]["sha256"] = "0" * 64

    assert "the test splits hold other examples" in changed(other)[1]
