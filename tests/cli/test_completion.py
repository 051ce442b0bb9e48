"""What the shell completes."""

import pytest

from tests.support.pipelines import CONFIG


@pytest.fixture
def completed(edgepipe, written, monkeypatch, tmp_path):
    """What `edgepipe` offers to bash for a command line whose last word is being typed."""
    written(CONFIG)
    written("broken: [", "broken.yaml")
    (tmp_path / "boards").mkdir()

    def complete(line):
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(line.count(" ")))
        monkeypatch.setenv("_EDGEPIPE_COMPLETE", "complete_bash")
        return edgepipe()[1].split()

    return complete


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("edgepipe ins", ["inspect"]),
        ("edgepipe run ", ["boards/", "broken.yaml", "tiny.yaml"]),
        ("edgepipe plan ./t", ["./tiny.yaml"]),
        ("edgepipe run tiny.yaml --target rp", ["rp2040"]),
        ("edgepipe run tiny.yaml --set sta", ["stages."]),
        ("edgepipe run tiny.yaml --set stages.t", ["stages.train."]),
        ("edgepipe run tiny.yaml --set stages.prune.sp", ["stages.prune.sparsity="]),
        ("edgepipe run tiny.yaml --set see", ["seed="]),
        ("edgepipe run broken.yaml --set see", []),
        ("edgepipe export a.tflite --format ", ["c"]),
    ],
)
def test_the_shell_completes_what_is_known(completed, line, offered):
    assert completed(line) == offered


def test_the_home_folder_is_known_in_configs_and_on_the_command_line(edgepipe, written, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    written(CONFIG.replace("{source: digits}", "{source: npz, path: ~/none.npz}"), "home/tiny.yaml")
    code, _, err = edgepipe("plan", "~/tiny.yaml", "--store=~/store")
    assert code == 3
    assert f"{tmp_path}/home/none.npz" in err
