"""`edgepipe verify --report`: whatever is touched in a run folder is found."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pipeline.audit import remeasurement, run_folder
from pipeline.config.config import Config
from pipeline.core.errors import InputError
from pipeline.core.hashing import file_sha256
from pipeline.core.store import Store
from pipeline.data.sources.digits import Digits
from pipeline.data.sources.npz import Npz
from pipeline.report import build, checksums, decisions, figures
from pipeline.report.document import Report


@pytest.fixture
def folder(cold, tmp_path):
    """A copy of a run folder, away from where it was made."""
    return Path(shutil.copytree(cold.folder / "runs" / "tiny", tmp_path / "copy"))


@pytest.fixture
def check(edgepipe, folder):
    """Checks the folder again; gives the exit code, the findings as (file, what) and the whole document."""

    def run(*arguments):
        code, out, _ = edgepipe("verify", "--report", folder / "report.json", "--json", *arguments)
        document = json.loads(out)
        return code, {(found["file"], found["what"]) for found in document["mismatches"]}, document

    return run


@pytest.fixture
def rewrite(folder):
    """Changes the report and then makes all else consistent with it: pages, config.yaml, SHA256SUMS."""

    def write(change):
        document = json.loads((folder / "report.json").read_bytes())
        change(document, {model["name"]: model for model in document["models"]})
        report = Report.model_validate(document)
        for name, text in build.pages(report, figures.draw(report)).items():
            (folder / name).write_text(text, encoding="utf-8")
        (folder / "config.yaml").write_text(build.config_text(report), encoding="utf-8")
        checksums.write(folder)

    return write


def test_a_folder_that_nobody_touched_passes(edgepipe, folder):
    code, out, err = edgepipe("verify", "--report", folder)
    assert code == 0
    assert all(line.startswith("checking ") for line in err.splitlines())
    assert out.startswith(f"PASS  {folder}: 3 models, 7 checks judged again")
    assert "not checked  outputs on other runtimes" in out
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=folder, check=True)


def test_results_are_bound_to_bytes(cold):
    report, folder = cold.report, cold.folder / "runs" / "tiny"
    models = {model.name: model for model in report.models}
    for model in models.values():
        assert model.sha256 == file_sha256(folder / model.file)
        assert model.split_sha256 == report.data.splits["test"].sha256
    assert report.files[decisions.FILE].sha256 == file_sha256(folder / decisions.FILE)
    kept = decisions.read(folder / decisions.FILE)
    assert kept.split == report.data.splits["test"].sha256
    digits = Digits(source="digits")
    whole, test = digits.arrays()[kept.source], digits.split("test")
    assert np.array_equal(whole[0][kept.positions], test.x)
    assert np.array_equal(whole[1][kept.positions], kept.y)
    assert models["float"].calibration is None
    assert models["ptq"].calibration.samples == 179
    assert len(models["ptq"].calibration.sha256) == 64


def test_what_place_libraries_and_data_alone_decide_is_no_finding(check, rewrite, tmp_path):
    far = Npz(
        source="npz", path="../" * 40 + "a folder, of a long name: that YAML quotes/" * 4 + "d.npz", labels=["a", "b"]
    )

    def change(report, models):
        report["config"]["data"] = far.settings()
        report["steps"][0]["curves"]["loss"][0] = "NaN"
        report["environment"]["zlib"] = "0.1"
        models["ptq"]["gzip_bytes"] += 1
        models["small"]["metrics"]["accuracy"] *= 1 + 1e-15
        models["ptq"]["rules"].append(dict.fromkeys(("what", "received", "expected"), "a range")
                                      | {"rule": "R16", "severity": "warn"})  # fmt: skip

    rewrite(change)
    code, found, document = check()
    assert (code, found) == (0, set())
    assert "gzip_bytes" in {each["what"] for each in document["unchecked"]}


def test_what_is_expected_follows_from_the_files(edgepipe, folder):
    """A wrong report.json makes no page wrong that is right, and the excerpts begin where the texts differ."""
    report = (folder / "report.json").read_text(encoding="utf-8")
    (folder / "report.json").write_text(report.replace('"integer_only": true', '"integer_only": false'))
    page = (folder / "report.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if line.startswith("| ptq"))
    (folder / "report.md").write_text(page.replace(row, row + " " * 99 + "x"), encoding="utf-8")
    (folder / "SHA256SUMS").unlink()
    code, out, _ = edgepipe("verify", "--report", folder)
    lines = [line for line in out.splitlines() if "✗" in line and "SHA256SUMS" not in line]
    assert code == 5
    assert [line.split(": expected")[0] for line in lines] == [
        "✗ fail  report.json: models.ptq.integer_only", "✗ fail  report.json: models.small.integer_only",
        f"✗ fail  report.md: line {page.splitlines().index(row) + 1}",
    ]  # fmt: skip
    assert lines[0].endswith("expected True, found False")
    assert "expected '..." in lines[2]


def test_touched_files_are_found(check, folder):
    content = bytearray((folder / "small.tflite").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "small.tflite").write_bytes(content)
    (folder / "extra.tflite").write_bytes(content)
    (folder / "junit.xml").unlink()
    for name, old, new in (("report.md", "98", "99"), ("config.yaml", "seed: 5", "seed: 6")):
        text = (folder / name).read_text(encoding="utf-8")
        (folder / name).write_text(text.replace(old, new) + " ", encoding="utf-8")
    lines = (folder / "SHA256SUMS").read_text().splitlines(keepends=True)
    (folder / "SHA256SUMS").write_text("".join(line for line in lines if "float" not in line))
    code, found, _ = check()
    summed = "sha256 in SHA256SUMS"
    assert code == 5
    assert {(file, what) for file, what in found if not what.startswith("line ")} == {
        ("small.tflite", "sha256"), ("small.tflite", summed), ("extra.tflite", "file"), ("junit.xml", "file"),
        ("junit.xml", "file in SHA256SUMS"), ("report.md", summed), ("config.yaml", summed),
    }  # fmt: skip
    assert {file for file, what in found if what.startswith("line ")} == {"SHA256SUMS", "report.md", "config.yaml"}


def test_edited_figures_do_not_follow_from_the_files(check, rewrite):
    def change(report, models):
        models["ptq"]["metrics"]["accuracy"] = models["ptq"]["drop"]["accuracy"] = 0.75
        models["ptq"]["confusion"][3][3] += 1
        models["ptq"]["paired"]["lost"] += 1
        models["ptq"]["macs"] = 7
        models["small"]["integer_only"] = False
        models["small"]["pruned_sparsity"] = 0.9
        models["float"]["baseline"] = False
        report["checks"][0]["limit"] = 0.25
        report["steps"][0]["settings"]["epochs"] = 5
        report["status"] = "fail"

    rewrite(change)
    code, found, document = check()
    assert code == 5
    assert found == {
        ("report.json", what)
        for what in (
            "models.ptq.metrics.accuracy", "models.ptq.drop.accuracy", "models.ptq.confusion.3.3",
            "models.ptq.paired.lost", "models.ptq.macs", "models.small.integer_only", "models.small.pruned_sparsity",
            "models.float.baseline", "checks.0.limit", "steps.train.settings.epochs", "status",
        )
    } | {("report.json", f"checks.{i}.{field}") for i, field in judged_by(document)}  # fmt: skip


def judged_by(document):
    """Fields of checks that are judged by the edited figures, and so differ too."""
    told = [found["what"].split(".") for found in document["mismatches"] if found["what"].startswith("checks.")]
    return {(i, field) for _, i, field in told} - {("0", "limit")}


def test_swapped_decisions_do_not_give_the_figures(check, folder, rewrite):
    path = folder / decisions.FILE
    kept = decisions.read(path)
    models = dict(kept.models, ptq=(kept.models["ptq"] + 1) % 10)
    decisions.write(path, kept._replace(models=models))

    def change(report, models):
        report["files"][decisions.FILE]["sha256"] = file_sha256(path)

    rewrite(change)
    code, found, _ = check()
    assert code == 5
    assert {("report.json", "models.ptq.metrics.accuracy"), ("report.json", "models.ptq.paired.lost")} <= found
    assert not any(".small.metrics." in what for _, what in found)


def test_a_model_that_no_stage_makes_is_found(check, folder, rewrite):
    def change(report, models):
        report["models"].append({**models["ptq"], "name": "best", "file": "best.tflite"})

    shutil.copy(folder / "ptq.tflite", folder / "best.tflite")
    rewrite(change)
    code, found, _ = check()
    assert (code, found) == (5, {("report.json", "models")})


def test_measuring_again_finds_what_is_consistent_and_wrong(check, folder, rewrite, cold):
    def change(report, models):
        models["ptq"]["metrics"]["log_loss"] += 0.25
        models["ptq"]["drop"]["log_loss"] -= 0.25
        models["ptq"]["runtimes"][1]["flips"] += 1
        models["small"]["error"]["mean_abs"] /= 2
        models["small"]["tensors"][0]["sqnr_db"] += 1
        models["small"]["latency_ms"]["p50"] = 123.0
        models["ptq"]["calibration"]["sha256"] = "0" * 64

    rewrite(change)
    code, found, document = check("--rerun", "--store", cold.folder / "store")
    assert code == 5
    assert {what for _, what in found} == {
        "models.ptq.metrics.log_loss", "models.ptq.drop.log_loss", "models.ptq.runtimes.1.flips",
        "models.small.error.mean_abs", "models.small.tensors.0.sqnr_db", "models.ptq.calibration.sha256",
    }  # fmt: skip
    assert {found["what"].split(",")[0] for found in document["unchecked"]} == {"latency", "ptq: calibration.halves"}
    assert document["latency_ms"]["small"][1] == 123.0
    assert document["changed"] == {}


def test_what_can_not_be_measured_again_is_told(check, tmp_path):
    code, found, document = check("--rerun", "--store", tmp_path / "empty")
    why = "needs the Keras model, which is not in the store"
    assert (code, found) == (0, set())
    assert [each["what"].split(":")[0] for each in document["unchecked"] if each["why"] == why] == [
        "float", "ptq", "small",
    ]  # fmt: skip
    assert not (tmp_path / "empty").exists()


def test_another_test_split_is_told_and_nothing_is_measured(check, tmp_path):
    (tmp_path / "other.yaml").write_text("data: {source: digits, split_seed: 1}")
    code, found, document = check("--rerun", "--data", tmp_path / "other.yaml")
    assert code == 5
    assert ("report.json", "data.splits.test.sha256") in found
    assert document["latency_ms"] == {}


def test_the_paths_of_a_config_hold_from_anywhere(folder, tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    np.savez(tmp_path / "d.npz", x_train=np.arange(60.0).reshape(20, 3), y_train=np.arange(20) % 2)
    report = json.loads((folder / "report.json").read_bytes())
    report["config"]["data"] = {"source": "npz", "path": "../d.npz", "labels": ["a", "b"]}
    (folder / "report.json").write_text(json.dumps(report))
    found = run_folder.load(folder)
    data = remeasurement.find_data(found, None)
    monkeypatch.chdir("/")
    assert data.path.resolve() == (tmp_path / "d.npz").resolve()
    shutil.move(tmp_path / "d.npz", tmp_path / "runs" / "e.npz")
    with pytest.raises(InputError, match="say where the data is now with --data"):
        remeasurement.rerun(found, None, Store(tmp_path / "store"))
    moved = remeasurement.find_data(found, str(tmp_path / "runs" / "e.npz"))
    assert moved.spec().labels == ("a", "b")
    made = build.with_paths(Config.model_validate(report["config"]).settings(), lambda path: path)
    assert made["data"]["path"] == "../d.npz"


def text(change):
    def write(folder):
        path = folder / "report.json"
        path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")

    return write


def link(folder):
    (folder / "ptq.tflite").unlink()
    (folder / "ptq.tflite").symlink_to("/etc/hostname")


def pipe(folder):
    (folder / "report.md").unlink()
    os.mkfifo(folder / "report.md")


@pytest.mark.parametrize(
    ("touch", "message"),
    [
        (text(lambda old: old.replace('"small.tflite"', '"../../../etc/passwd"')), "in its own folder"),
        (text(lambda old: old.replace('"small.tflite"', '"/etc/passwd"')), "in its own folder"),
        (text(lambda old: old.replace('"decisions.npz"', '"../decisions.npz"')), "in its own folder"),
        (text(lambda old: old.replace('"schema_version": 1', '"schema_version": 2')), "schema_version"),
        (text(lambda old: old[:-900]), "Invalid JSON"),
        (text(lambda old: old.replace('"seed": 5', '"seed": -5')), "seed"),
        (text(lambda old: "[" * 100_000), "Invalid JSON"),
        (text(lambda old: old.replace('"bytes": ', '"bites": ')), "bytes: Field required"),
        (lambda folder: (folder / "report.json").write_bytes(b"\xff\xfe"), "UTF-8"),
        (lambda folder: os.truncate(folder / "report.json", 1 << 40), "at most 64 MiB"),
        (lambda folder: (folder / "report.json").unlink(), "no such file"),
        (lambda folder: (folder / "SHA256SUMS").write_text("0" * 64 + "  ../../etc/passwd\n"), "SHA256SUMS:1"),
        (link, "a symbolic link"),
        (pipe, "a device or pipe"),
    ],
)
def test_what_is_no_run_folder_is_one_clear_error(edgepipe, folder, touch, message):
    touch(folder)
    code, out, err = edgepipe("verify", "--report", folder / "report.json")
    assert (code, out) == (3, "")
    assert message in err
    assert len(err.splitlines()) <= 2


def test_a_report_that_breaks_its_reader_is_no_traceback(edgepipe, folder, rewrite):
    def change(report, models):
        for model in models.values():
            model.update(per_class=[], pruned=["nothing"], output=None, bytes=model["bytes"])
        report["data"]["labels"] = [str(i) for i in range(200_000)]

    rewrite(change)
    code, out, err = edgepipe("verify", "--report", folder)
    assert code in (3, 5)
    assert "Traceback" not in out + err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "verify: needs a file"),
        (["m.tflite", "--rerun"], "--rerun: is for a run folder"),
        (["m.tflite", "--store", "s"], "--store: is for a run folder"),
        (["m.tflite", "--report", "r"], "MODEL.tflite: is not for a run folder"),
        (["--report", "r", "--baseline", "b"], "--baseline: is not for a run folder"),
        (["--report", "r", "--checks", "c", "--target", "t", "--out", "o"], "--target: is not for a run folder"),
        (["--report", "r", "--data", "digits"], "--data: is for measuring again; add --rerun"),
    ],
)
def test_arguments_that_make_no_sense_together(edgepipe, arguments, message):
    code, out, err = edgepipe("verify", *arguments)
    assert (code, out) == (2, "")
    assert message in err
