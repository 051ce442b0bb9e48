"""The documentation tells what the code does: generated pages, examples, commands, links, and the site."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import typer
from pydantic import TypeAdapter

import pipeline
from pipeline.audit.model_file import Promises
from pipeline.cli import reference
from pipeline.cli.app import app
from pipeline.config import registry
from pipeline.config.config import Config, load, load_as
from pipeline.core import yaml
from pipeline.core.errors import EdgepipeError
from pipeline.data.source import AnyData
from pipeline.engine.plan import plan
from pipeline.keras.models.model import AnyModel
from pipeline.stages.stage import AnyStage
from pipeline.verify import targets
from pipeline.verify.checks.check import AnyCheck
from pipeline.verify.targets.target import AnyTarget

ROOT = Path(pipeline.__file__).parents[1]
WRITTEN = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = [*WRITTEN, *sorted((ROOT / "docs" / "reference").glob("*.md"))]
FRAGMENTS: dict[str, Any] = {  # the title of a block -> what it holds
    "stages": tuple[AnyStage, ...], "checks": tuple[AnyCheck, ...], "data": AnyData, "model": AnyModel,
    "target": AnyTarget,
}  # fmt: skip


class Block(NamedTuple):
    """A fenced block of a page. title: what a fragment is of; "" for a whole config."""

    language: str
    title: str
    text: str


def blocks(markdown):
    found = re.finditer(r'^```(\w*)(?: title="(\w+)")?\n(.*?)^```$', markdown, re.MULTILINE | re.DOTALL)
    return [Block(each[1], each[2] or "", each[3]) for each in found]


def prose(markdown):
    return re.sub(r"^```.*?^```$", "", markdown, flags=re.MULTILINE | re.DOTALL)


def anchors(markdown):
    """Of the headings, as GitHub makes them."""
    plain = (
        re.sub(r"\[(.*?)\]\(.*?\)", r"\1", each) for each in re.findall(r"^#+ (.*)$", prose(markdown), re.MULTILINE)
    )
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in plain}


def unsound(block, folder):
    """What is wrong with a YAML block; "" for a sound one."""
    path = folder / "block.yaml"
    path.write_text(block.text)
    try:
        if block.title == "promises":
            load_as(Promises, path)
        elif block.title:
            value = yaml.parse(block.text, "block").value
            TypeAdapter(FRAGMENTS[block.title]).validate_python(
                tuple(value) if isinstance(value, list) else value, strict=False
            )
        else:
            _planned(path)
    except (EdgepipeError, ValueError) as error:
        return str(error)
    return ""


def _planned(path):
    """Plan a config, with made-up arrays in the place of a file that readers bring."""
    config, document = load(path)
    wanted = getattr(config.data, "path", None)
    if wanted is not None and not wanted.exists():
        made = path.with_name("made.npz")
        config, document = load(path, [f"data.path={made}"])
        images = np.random.default_rng(7).integers(0, 256, (500, *_shape(config)), np.uint8)
        np.savez(made, x_train=images, y_train=np.arange(500) % 10, x_test=images, y_test=np.arange(500) % 10)
    return plan(config, document)


def _shape(config: Config):
    shape = getattr(config.data, "shape", None)
    return (shape[:2] if shape and len(shape) == 3 and shape[2] == 1 else shape) or (32, 32, 3)


def wrong_command(line):
    """What is wrong with a command line, which is parsed and not run; "" for a sound one, or another program's."""
    words = shlex.split(line, comments=True)
    if words and words[0].startswith("scripts/"):
        return "" if (ROOT / words[0]).is_file() else f"there is no {words[0]}"
    if not words or Path(words[0]).name != "edgepipe":
        return ""
    command, arguments = typer.main.get_command(app), words[1:]
    try:
        while hasattr(command, "commands"):
            name, *arguments = arguments
            command = command.commands[name]
        command.make_context(command.name, arguments)
    except BaseException as error:  # click's own, of any kind
        return f"{type(error).__name__}: {error}"
    return ""


def commands(block):
    if block.language == "console":
        return [line.removeprefix("$ ") for line in block.text.splitlines() if line.startswith("$ ")]
    return block.text.replace("\\\n", " ").splitlines() if block.language == "sh" else []


def lost_links(path, markdown):
    """Links of a page to files and headings that are not there."""
    lost = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(markdown)):
        name, _, fragment = link.partition("#")
        if link.startswith(("http://", "https://")):
            continue
        target = (path.parent / name).resolve() if name else path
        if not target.exists() or (fragment and fragment not in anchors(target.read_text(encoding="utf-8"))):
            lost.append(link)
    return lost


def test_the_generated_pages_are_those_of_the_code():
    there = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "reference").glob("*.md")}
    assert there == reference.pages(), "run scripts/docs"


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 250


def test_the_config_that_is_shown_is_the_one_that_runs():
    shown = (ROOT / "README.md").read_text(encoding="utf-8")
    assert (ROOT / "configs" / "digits.yaml").read_text(encoding="utf-8").strip() in shown


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)
def test_every_yaml_block_is_valid(path, tmp_path):
    found = {
        block: unsound(block, tmp_path) for block in blocks(path.read_text(encoding="utf-8")) if block[0] == "yaml"
    }
    assert {block.text: wrong for block, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)
def test_every_command_line_parses(path):
    lines = [line for block in blocks(path.read_text(encoding="utf-8")) for line in commands(block)]
    assert {line: wrong for line in lines if (wrong := wrong_command(line))} == {}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT).with_suffix("")))
def test_every_link_leads_somewhere(path):
    assert lost_links(path, path.read_text(encoding="utf-8")) == []


def test_every_part_and_command_is_told_on_a_page():
    text = "".join(path.read_text(encoding="utf-8") for path in WRITTEN[1:])
    tags = {"source": [*registry.DATA, *registry.MODELS], "stage": registry.STAGES, "check": registry.CHECKS}
    wanted = [f"`{tag}: {name}`" for tag, names in tags.items() for name in names]
    wanted += [f"`{name}`" for name in (*registry.TASKS, *registry.RUNTIMES, *registry.FORMATS, *targets.names())]
    assert [each for each in wanted if each not in text] == []
    names = {command.name or command.callback.__name__ for command in app.registered_commands}
    assert [name for name in sorted(names) if f"edgepipe {name}" not in text] == []


STARTER = ROOT / "pipeline" / "config" / "starter.yaml"


@pytest.mark.parametrize("path", [*sorted((ROOT / "configs").glob("*.yaml")), STARTER], ids=lambda path: path.stem)
def test_every_config_can_be_planned(path, tmp_path):
    copy = tmp_path / path.name
    shutil.copy(path, copy)
    assert _planned(copy)


def test_nothing_is_left_to_be_filled_in():
    assert [path.name for path in PAGES if re.search(r"@@\w|TODO|FIXME", path.read_text(encoding="utf-8"))] == []


def test_the_pages_build_as_a_site(tmp_path):
    pytest.importorskip("zensical", reason="the extra docs is not installed; it needs Python 3.11")
    for name in ("docs", "zensical.toml"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, tmp_path / name)
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "site" / "reference" / "stages" / "index.html").is_file()


def test_the_menu_of_the_site_names_every_page():
    text = (ROOT / "zensical.toml").read_text(encoding="utf-8")
    named = sorted(re.findall(r'"([\w/]+\.md)"', text))
    assert named == sorted(str(path.relative_to(ROOT / "docs")) for path in PAGES[1:])


@pytest.mark.parametrize(("block", "wrong"), [
    ("```yaml\nname: x\n```", "data: is required"),
    ('```yaml title="stages"\n- {stage: trian}\n```', "trian"),
    ('```yaml title="promises"\nchecks: [{check: acuracy}]\n```', "did you mean 'accuracy'?"),
])  # fmt: skip
def test_a_block_that_is_not_valid_is_found(block, wrong, tmp_path):
    (found,) = blocks(block)
    assert wrong in unsound(found, tmp_path)


@pytest.mark.parametrize("line", ["edgepipe rnu x.yaml", "edgepipe run x.yaml --sett a=1", "scripts/nothing"])
def test_a_command_that_does_not_parse_is_found(line):
    assert wrong_command(line)


def test_a_link_that_leads_nowhere_is_found(tmp_path):
    (tmp_path / "there.md").write_text("# A heading\n")
    text = "[a](there.md) [b](there.md#a-heading) [c](there.md#other) [d](gone.md)"
    assert lost_links(tmp_path / "page.md", text) == ["there.md#other", "gone.md"]
