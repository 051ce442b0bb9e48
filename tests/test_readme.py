"""The README tells what the code does."""

import re
from pathlib import Path

import numpy as np

from pipeline.cli import app
from pipeline.config import config, reference
from pipeline.engine.plan import plan

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_reference_of_settings_is_made_from_the_classes():
    shown = README.partition("<!-- settings -->\n")[2].partition("<!-- /settings -->")[0]
    assert shown == reference.render(), "run `python -m pipeline.reference` and put it between the marks"


def test_the_config_that_is_shown_is_the_one_that_runs():
    assert (ROOT / "configs" / "digits.yaml").read_text(encoding="utf-8").strip() in README


def test_every_command_is_told():
    names = {command.name or command.callback.__name__ for command in app.app.registered_commands}
    assert [name for name in sorted(names) if f"edgepipe {name}" not in README] == []


def test_every_config_that_is_carried_can_be_planned(tmp_path):
    """Those of CIFAR-10 with images of its shape, because the genuine ones are downloaded."""
    made, images = tmp_path / "cifar10.npz", np.random.default_rng(7).integers(0, 256, (500, 32, 32, 3), np.uint8)
    labels = np.arange(500) % 10
    np.savez(made, x_train=images, y_train=labels, x_test=images, y_test=labels)
    for path in [*(ROOT / "configs").glob("*.yaml"), ROOT / "pipeline" / "starter.yaml"]:
        assert plan(*config.load(path, [f"data.path={made}"] if "cifar10" in path.name else []))


def test_every_file_that_is_named_is_there():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_nothing_is_left_to_be_filled_in():
    assert re.findall(r"@@\w*", README) == []
