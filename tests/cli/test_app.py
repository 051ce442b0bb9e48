"""The command line: exit codes, what goes to which stream, and no traceback for any mistake of a user."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.core.store import Store, key_of
from tests.support.pipelines import HEAD

CONFIG = HEAD + "  - {stage: train, epochs: 3}\n  - {stage: convert, quantization: int8}\n"
COMMANDS = ["run", "plan", "inspect", "schema", "init", "cache"]


def process(*arguments, cwd, stdout=subprocess.PIPE, **environment):
    """A command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *map(str, arguments)],
        cwd=cwd, stdout=stdout, stderr=subprocess.PIPE, text=True, env=os.environ | environment, check=False,
    )  # fmt: skip


def fill(work):
    (work / "model.h5").write_bytes(b"12345")


@pytest.fixture
def entry(tmp_path):
    """One entry in the test's store."""
    identity = {"what": "a thing"}
    return Store(tmp_path / "store").put(key_of(identity), "train", identity, fill)


def test_help_names_every_command(edgepipe):
    code, out, err = edgepipe("--help")
    assert (code, err) == (0, "")
    assert all(re.search(rf"\b{command}\b", out) for command in COMMANDS)
    assert edgepipe("-h") == (code, out, err)


@pytest.mark.parametrize("command", [*COMMANDS, "cache list", "cache clear"])
def test_each_command_has_help(edgepipe, command):
    code, out, _ = edgepipe(*command.split(), "--help")
    assert code == 0
    assert command == "cache" or re.search(rf"Examples\s+edgepipe {command}\b.*Exit codes  \w", out, re.DOTALL)


def test_help_of_run_names_its_options(edgepipe):
    _, out, _ = edgepipe("run", "--help")
    assert all(option in out for option in ("--set", "--out", "--store", "--json", "CONFIG"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["nope"], ["run"], ["plan"], ["plan", "c.yaml", "--nope"], ["plan", "c.yaml", "--set"], ["cache", "nope"],
        ["cache", "clear", "--older-than", "-1"], ["cache", "clear", "--older-than", "x"], ["inspect"],
    ],
)  # fmt: skip
def test_wrong_usage_is_exit_code_2(edgepipe, arguments):
    code, out, err = edgepipe(*arguments)
    assert (code, out) == (2, "")
    assert "Traceback" not in err


@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_wrong_config_is_exit_code_2_with_a_line_for_each_fault(edgepipe, written, command):
    written(CONFIG.replace("epochs: 3", "epohcs: 3"))
    code, out, err = edgepipe(command, "tiny.yaml", "--set", "sede=1")
    assert (code, out) == (2, "")
    assert err.removeprefix("reading tiny.yaml\n").splitlines() == [
        "error: --set sede=1: sede: is not a known setting; did you mean 'seed'?",
        "error: tiny.yaml:5:20: stages.train.epohcs: is not a known setting; did you mean 'epochs'?",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "fault"),
    [
        (["plan", "tiny.yaml"], 2, {"where": "tiny.yaml:5:20", "field": "stages.train.epohcs"}),
        (["plan"], 2, {"rule": "Missing argument 'CONFIG'"}),
        (["run", "nowhere.yaml"], 2, {"where": "nowhere.yaml"}),
        (["inspect", "nowhere.tflite"], 3, {"where": "nowhere.tflite"}),
        (["verify"], 2, {"rule": "needs a file"}),
    ],
)
def test_an_error_is_json_where_json_is_asked_for(edgepipe, written, arguments, code, fault):
    written(CONFIG.replace("epochs: 3", "epohcs: 3"))
    found, out, err = edgepipe(*arguments, "--json")
    error = json.loads(out)["error"]
    assert found == error["exit_code"] == code
    assert len(error["faults"]) == 1
    assert error["faults"][0].items() >= fault.items()
    assert err.splitlines()[arguments[0] == "run"].startswith("error: ")


def test_the_target_of_the_command_line_goes_before_the_configs(edgepipe, written, tmp_path):
    written(CONFIG + "  - {stage: verify, of: [convert]}\n")
    code, out, _ = edgepipe("plan", "tiny.yaml", "--target", "cortex-m4", "--json")
    assert code == 0
    assert out != edgepipe("plan", "tiny.yaml", "--target", "esp32-s3", "--json")[1]
    (tmp_path / "boards").mkdir()
    (tmp_path / "boards" / "board.yaml").write_text("like: cortex-m4\nname: board\n")
    assert edgepipe("plan", "tiny.yaml", "--target", "boards/board.yaml")[0] == 0
    code, _, err = edgepipe("run", "tiny.yaml", "--target", "cortex-m5")
    assert code == 2
    assert "\nerror: --target cortex-m5: target: there is no such target" in err


def test_of_very_many_faults_the_first_are_told_and_the_others_counted(edgepipe, written):
    written(CONFIG + "".join(f"unknown_{i}: {'x' * 400}\n" for i in range(2060)))
    code, _, err = edgepipe("plan", "tiny.yaml")
    lines = err.splitlines()
    assert (code, len(lines), lines[-1]) == (2, 51, "error: and 2,010 more")
    assert max(map(len, lines)) < 200


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize(
    ("config", "code"),
    [
        ("none.yaml", 2),
        (".", 2),
        ("data.yaml", 3),
    ],
)
def test_files_that_are_not_there_have_their_exit_codes(edgepipe, written, command, config, code):
    written(CONFIG.replace("{source: digits}", "{source: npz, path: none.npz}"), "data.yaml")
    found, out, err = edgepipe(command, config)
    assert (found, out) == (code, "")
    assert err.splitlines()[command == "run"].startswith("error: ")
    assert not Path("runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("where", ["--store", "--out"])
def test_a_folder_that_can_not_be_written_is_exit_code_4_and_leaves_nothing(edgepipe, written, where):
    written(CONFIG)
    written("x", "file")
    code, out, err = edgepipe("run", "tiny.yaml", where, "file/inside")
    assert (code, out) == (4, "")
    assert "\nerror: file/inside" in err
    assert f"with {where} DIR" in err
    assert not list(Path().glob("runs/*/*"))


def test_plan_shows_a_row_for_each_stage_and_runs_nothing(edgepipe, written, tmp_path):
    written(CONFIG)
    code, out, err = edgepipe("plan", "tiny.yaml")
    assert (code, err) == (0, "")
    assert [line.split()[:3] for line in out.splitlines()[1:]] == [["train", "–", "miss"], ["convert", "train", "miss"]]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny.yaml"]


def test_plan_as_json_tells_keys_and_reasons(edgepipe, written, tmp_path):
    written(CONFIG)
    code, out, _ = edgepipe("plan", "tiny.yaml", "--json", "--explain")
    rows = json.loads(out)
    assert code == 0
    assert [(row["name"], row["stage"], row["reads"], row["hit"], row["why"]) for row in rows] == [
        ("train", "train", [], False, "no train stage is in the store"),
        ("convert", "convert", ["train"], False, "no convert stage is in the store"),
    ]
    assert all(re.fullmatch(r"[0-9a-f]{64}", row["key"]) for row in rows)


def test_init_writes_a_config_that_plans_and_never_overwrites(edgepipe):
    code, out, _ = edgepipe("init")
    assert (code, out) == (0, "wrote edgepipe.yaml; next: edgepipe run edgepipe.yaml\n")
    assert edgepipe("plan", "edgepipe.yaml")[0] == 0
    text = Path("edgepipe.yaml").read_text()
    assert "#" in text
    Path("edgepipe.yaml").write_text("mine")
    code, _, err = edgepipe("init")
    assert (code, err) == (2, "error: edgepipe.yaml: is there already; name another file\n")
    assert Path("edgepipe.yaml").read_text() == "mine"
    assert edgepipe("init", "none/x.yaml")[0] == 2


@pytest.mark.parametrize(
    ("x", "y", "kind", "lines"),
    [
        ((90, 8, 8), "i", np.uint8, ["shape: [8, 8, 1]", "source: small_cnn", "augment:", "max_drop: 0.39"]),
        ((90, 12), "i", np.float32, ["source: mlp", "check: accuracy, max_drop: 0.39"]),
        ((90, 12), "f", np.float32, ["task: regression", "source: mlp", "metric: r2"]),
    ],
)
def test_init_for_ones_own_data_and_device_plans(edgepipe, tmp_path, x, y, kind, lines):
    labels = np.arange(90) % 3 if y == "i" else np.linspace(0, 1, 90)
    values = np.random.default_rng(0).integers(0, 200, x).astype(kind)
    np.savez(tmp_path / "my data.npz", x_train=values, y_train=labels)
    spec = "my data.npz" if y == "i" else "{source: npz, path: my data.npz, task: regression}"
    (tmp_path / "sub").mkdir()
    code, _, err = edgepipe("init", "sub/kws.yaml", "--data", spec, "--target", "cortex-m4", "--name", "kws")
    assert (code, err) == (0, "")
    text = (tmp_path / "sub" / "kws.yaml").read_text()
    assert all(line in text for line in [*lines, "name: kws ", "target: cortex-m4 ", "path: '../my data.npz'"])
    assert ("augment" in text) is ("small_cnn" in text)
    assert edgepipe("plan", "sub/kws.yaml")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--data", "x.bin"], 2, "--data: must be digits or diabetes, an .npz file, a folder of pictures"),
        (["--data", "{source: npz, pth: a}"], 2, "did you mean 'path'?"),
        (["--data", "none.npz"], 3, "none.npz: the data file can't be read"),
        (["--target", "cortex-m5"], 2, "did you mean 'cortex-m"),
        (["--name", "a/b"], 2, "--name: must hold only letters"),
    ],
)
def test_init_writes_nothing_for_what_can_not_be(edgepipe, tmp_path, arguments, code, message):
    found, _, err = edgepipe("init", *arguments)
    assert found == code
    assert message in err
    assert not (tmp_path / "edgepipe.yaml").exists()


def test_cache_list_shows_every_entry(edgepipe, entry):
    code, out, _ = edgepipe("cache", "list")
    assert code == 0
    assert "train" in out
    assert entry.key[:12] in out
    assert "1 entries, 5 B in " in out
    (row,) = json.loads(edgepipe("cache", "list", "--json")[1])
    assert (row["key"], row["stage"], row["bytes"]) == (entry.key, "train", 5)


def test_cache_clear_removes_what_is_old_enough(edgepipe, entry):
    assert edgepipe("cache", "clear", "--older-than", "1")[1] == "removed 0 entries, 0 B\n"
    assert edgepipe("cache", "clear")[1] == "removed 1 entries, 5 B\n"
    assert json.loads(edgepipe("cache", "list", "--json")[1]) == []


def test_the_store_option_goes_before_the_variable(edgepipe, entry, tmp_path):
    assert json.loads(edgepipe("cache", "list", "--json", "--store", tmp_path / "other")[1]) == []


@pytest.mark.parametrize("content", [b"", b"garbage", b"\0\0\0\x1cTFL3" + bytes(50), bytes(1000)])
def test_inspecting_what_is_no_model_is_exit_code_3(edgepipe, tmp_path, content):
    (tmp_path / "model.tflite").write_bytes(content)
    code, out, err = edgepipe("inspect", "model.tflite")
    assert (code, out) == (3, "")
    assert err.startswith("error: model.tflite: ")


@pytest.mark.parametrize("path", ["none.tflite", "."])
def test_inspecting_what_is_no_file_is_exit_code_3(edgepipe, path):
    assert edgepipe("inspect", path)[0] == 3


LIGHT = """
import sys
from pipeline.cli.app import app

HEAVY = {"tensorflow", "tf_keras", "keras", "tensorflow_model_optimization", "sklearn", "matplotlib", "scipy", "h5py"}
for arguments in (["--help"], ["run", "--help"], ["schema"], ["plan", "tiny.yaml", "--explain"], ["cache", "list"],
                  ["cache", "clear"], ["plan", "wrong.yaml"], ["inspect", "wrong.yaml"]):
    try:
        app(arguments)
    except BaseException as end:
        print(type(end).__name__, file=sys.stderr)
    found = HEAVY & {*sys.modules}
    assert not found, (arguments, found)
"""


def test_commands_that_train_nothing_import_nothing_heavy(written, tmp_path):
    written(CONFIG)
    written(CONFIG.replace("epochs", "epohcs"), "wrong.yaml")
    environment = os.environ | {"EDGEPIPE_STORE": str(tmp_path / "store")}
    done = subprocess.run(
        [sys.executable, "-c", LIGHT], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    endings = done.stderr.split()
    assert endings == ["SystemExit"] * 6 + ["ConfigError", "InputError"]


def test_there_is_no_color_where_there_is_no_terminal_and_none_is_wanted(written, tmp_path):
    written(CONFIG)
    arguments = ["plan", "tiny.yaml", "--store", tmp_path / "store"]
    assert "\x1b" not in process(*arguments, cwd=tmp_path).stdout
    wanted, unwanted = (process(*arguments, cwd=tmp_path, **env).stdout for env in ({"FORCE_COLOR": "1"}, NO_COLOR))
    assert "\x1b[33m" in wanted
    assert not re.search(r"\x1b\[[0-9;]*3\d", unwanted)


NO_COLOR = {"FORCE_COLOR": "1", "NO_COLOR": "1"}


@pytest.mark.parametrize("arguments", [["schema"], ["cache", "list"]])
def test_a_reader_that_has_seen_enough_sees_no_traceback(tmp_path, arguments):
    reader, writer = os.pipe()
    os.close(reader)
    done = process(*arguments, cwd=tmp_path, stdout=writer, EDGEPIPE_STORE=str(tmp_path / "store"))
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_behind_standard_output_is_an_error_and_no_traceback(tmp_path):
    with Path("/dev/full").open("w") as full:
        done = process("schema", cwd=tmp_path, stdout=full)
    assert (done.returncode, done.stderr) == (
        4, "error: standard output can't be written (received No space left on device)\n",
    )  # fmt: skip


def test_ctrl_c_is_one_line_and_exit_code_130(edgepipe, written, monkeypatch):
    written(CONFIG)

    monkeypatch.setattr("pipeline.cli.commands.plan", lambda *_: signal.raise_signal(signal.SIGINT))
    assert edgepipe("plan", "tiny.yaml") == (130, "", "interrupted\n")


def test_what_ends_a_command_is_told_and_an_ignored_signal_stays_ignored(edgepipe, written, monkeypatch):
    written(CONFIG)
    monkeypatch.setattr("pipeline.cli.commands.plan", lambda *_: signal.raise_signal(signal.SIGHUP))
    assert edgepipe("plan", "tiny.yaml") == (129, "", "ended by SIGHUP\n")
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        assert edgepipe("plan", "tiny.yaml") == (0, "", "")
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_target_is_shown_with_its_checks_and_sources(edgepipe: Any) -> None:
    code, shown, _ = edgepipe("targets", "rp2040")
    assert code == 0
    assert "ops: allowed 117 ops, per_channel_dense false, int16x8 true" in shown
    assert "arena: max_bytes 264.0 KiB" in shown
    assert "https://datasheets.raspberrypi.com/rp2040/rp2040-datasheet.pdf" in shown
    assert "micro_mutable_op_resolver.h" in shown  # of the table of ops


def test_a_target_of_ones_own_is_shown_as_one_of_ours(edgepipe: Any, tmp_path: Path) -> None:
    (tmp_path / "board.yaml").write_text("like: rp2040\nname: board\nram_bytes: 4096\n")
    code, shown, _ = edgepipe("targets", tmp_path / "board.yaml", "--json")
    assert (code, json.loads(shown)["ram_bytes"]) == (0, 4096)


def test_a_target_that_is_not_there_is_answered_with_the_right_one(edgepipe: Any) -> None:
    code, _, told = edgepipe("targets", "rp2041")
    assert code == 2
    assert "did you mean 'rp2040'?" in told
