"""The config: what is accepted, and what the settings become."""

from pathlib import Path

import pytest

from pipeline.config import config
from pipeline.core.errors import ConfigError
from tests import ROOT
from tests.support.pipelines import HEAD

CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
STAGES = "  - {stage: train, epochs: 3}\n"
FILES = HEAD.replace("digits", "npz, path: %s").replace("small_cnn", "file, path: m.h5") + STAGES


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_the_configs_that_we_ship_load(path):
    assert config.load(path)[0].name


def test_a_config_is_frozen_and_has_its_defaults(written):
    loaded, _ = config.load(written(HEAD + STAGES))
    assert loaded.seed == 0
    assert loaded.stages[0].batch_size == 32
    assert loaded.stages[0].learning_rate == 0.001
    with pytest.raises(ValueError, match="frozen"):
        loaded.seed = 3


def test_whole_numbers_are_numbers_and_null_is_nothing_where_it_may_be(written):
    text = "  - {stage: train, epochs: 3, learning_rate: 1, clip_norm: null, name: ~}\n"
    (stage,) = config.load(written(HEAD + text))[0].stages
    assert (stage.learning_rate, stage.clip_norm, stage.label) == (1.0, None, "train")


def test_the_resolved_settings_load_to_the_same_config(written):
    loaded, _ = config.load(ROOT / "configs" / "digits.yaml")
    from pydantic_core import to_json

    again, _ = config.load(written(to_json(loaded.settings()).decode(), "resolved.yaml"))
    assert again == loaded


@pytest.mark.parametrize("path", ["data.npz", "sub/data.npz", "../data.npz"])
def test_a_relative_path_is_relative_to_the_config_file(written, tmp_path, path):
    loaded, _ = config.load(written(FILES % path))
    assert loaded.data.path == tmp_path / path
    assert loaded.model.path == tmp_path / "m.h5"


def test_an_absolute_path_stays(written):
    assert config.load(written(FILES % "/d.npz"))[0].data.path == Path("/d.npz")


@pytest.mark.parametrize(
    "value",
    ["!!python/object/apply:os.mkdir [made]", "__import__('os').mkdir('made')", "${os.mkdir('made')}", "`mkdir made`"],
)
def test_yaml_never_runs_code(written, tmp_path, monkeypatch, value):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError):
        config.load(written(HEAD.replace("tiny", value) + STAGES), [f"seed={value}"])
    assert not (tmp_path / "made").exists()
