"""The documentation tells what the code does: generated pages, examples, commands, links, and the site."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import typer
from markdown_it import MarkdownIt
from pydantic import TypeAdapter

import pipeline
from pipeline.audit.examples import Examples
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
from tests.support.described import network

ROOT = Path(pipeline.__file__).parents[1]
WRITTEN = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = [*WRITTEN, *sorted((ROOT / "docs" / "reference").glob("*.md"))]
STARTER = ROOT / "pipeline" / "config" / "starter.yaml"
COMMANDS = typer.main.get_command(app)
OURS = re.compile(r"scripts/\w+|(?:configs|datasets|tests)/[\w/]+\.(?:yaml|py)")  # files of the repository in a command
LANGUAGES = ("", "c", "console", "python", "sh", "text", "yaml")
ALONE = {"promises": Promises, "examples": Examples}  # the title of a block -> what the file is
FRAGMENTS: dict[str, Any] = {  # the title of a block -> what it holds
    "stages": tuple[AnyStage, ...], "checks": tuple[AnyCheck, ...], "data": AnyData, "model": AnyModel,
    "target": AnyTarget,
}  # fmt: skip


class Block(NamedTuple):
    """A fenced block of a page. title: what a fragment is of; "" for a whole config."""

    language: str
    title: str
    text: str


class Page(NamedTuple):
    """What a page holds, wherever it stands: in lists, tables and quotations too.

    anchors: of the headings, as GitHub makes them
    code: what stands between backticks in a sentence
    """

    blocks: list[Block]
    links: list[str]
    anchors: set[str]
    code: list[str]


def parsed(markdown):
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    inline = [child for token in tokens for child in token.children or ()]
    headings = (after.children for token, after in pairwise(tokens) if token.type == "heading_open")
    return Page(
        [_block(token) for token in tokens if token.type in ("fence", "code_block")],
        [
            str(each.attrs.get("href") or each.attrs.get("src"))
            for each in inline
            if each.type in ("link_open", "image")
        ],
        _anchors("".join(each.content for each in children) for children in headings),
        [each.content for each in inline if each.type == "code_inline"],
    )


def _block(token):
    info = re.fullmatch(r'(\w*)(?: title="(\w+)")?', token.info)
    return Block(info[1], info[2] or "", token.content) if info else Block(token.info, "", token.content)


def _anchors(headings):
    count: Counter[str] = Counter()
    found = set()
    for heading in headings:
        name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found.add(f"{name}-{count[name]}" if count[name] else name)
        count[name] += 1
    return found


def read(path):
    return parsed(path.read_text(encoding="utf-8"))


def unsound(block, folder):
    """What is wrong with a block; "" for a sound one."""
    if block.language not in LANGUAGES or (block.title and block.language != "yaml"):
        return f"no test knows blocks of {block.language} {block.title}"
    try:
        if block.language == "python":
            compile(
                f"{{{block.text}}}" if block.text.startswith(" ") else block.text, "block", "exec"
            )  # or a line of a dict
        elif block.language == "yaml":
            _load_yaml(block, folder / "block.yaml")
    except (EdgepipeError, ValueError, KeyError, SyntaxError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _load_yaml(block, path):
    path.write_text(block.text, encoding="utf-8")
    if block.title in ALONE:
        load_as(ALONE[block.title], path)
    elif block.title:
        value = yaml.parse(block.text, "block").value
        TypeAdapter(FRAGMENTS[block.title]).validate_python(
            tuple(value) if isinstance(value, list) else value, strict=False
        )
    else:
        _planned(path)


def _planned(path):
    """Plan a config, with made-up files in the place of those that readers bring or make."""
    config, document = load(path)
    made = []
    if lacking(config.data):
        made.append(f"data.path={path.with_name('made.npz')}")
        images = np.random.default_rng(7).integers(0, 256, (500, *_shape(config)), np.uint8)
        arrays = {"x_train": images, "y_train": np.arange(500) % 10, "x_test": images, "y_test": np.arange(500) % 10}
        np.savez(path.with_name("made.npz"), **arrays)
    if lacking(config.model):
        made.append(f"model.path={path.with_name('made.h5')}")
        network(path.with_name("made.h5"), shape=None)
    return plan(*(load(path, made) if made else (config, document)))


def lacking(part):
    path = getattr(part, "path", None)
    return path is not None and not path.exists()


def _shape(config: Config):
    shape = getattr(config.data, "shape", None)
    return (shape[:2] if shape and len(shape) == 3 and shape[2] == 1 else shape) or (32, 32, 3)


def commands(block):
    """The command lines that a block shows: all lines of a script, and those with a prompt elsewhere."""
    lines = block.text.replace("\\\n", " ").splitlines()
    if block.language == "sh":
        return [line for line in lines if line.strip()]
    return [line[2:] for line in lines if line.startswith("$ ")] if block.language in ("", "console", "text") else []


def wrong_line(line):
    """What is wrong with a shell's line, which is parsed and not run; "" for a sound one."""
    words = shlex.shlex(line, posix=True, punctuation_chars=True)
    words.whitespace_split = True
    part: list[str] = []
    parts = [part]
    for word in words:
        if word in ("|", "||", "&", "&&", ";"):
            parts.append(part := [])
        else:
            part.append(word)
    return "; ".join(filter(None, map(_wrong_command, parts)))


def _wrong_command(words):
    """The same of one command, which may set variables and have its output go to a file."""
    end = next((i for i, word in enumerate(words) if word in (">", ">>", "<")), len(words))
    start = next((i for i, word in enumerate(words) if not re.match(r"\w+=", word)), len(words))
    name, *arguments = words[start:end] or [""]
    gone = [word for word in words[start:end] if OURS.fullmatch(word) and not (ROOT / word).exists()]
    if gone:
        return f"there is no {', '.join(gone)}"
    if name.startswith("scripts/") and not os.access(ROOT / name, os.X_OK):
        return f"{name} can't be executed"
    return _wrong_arguments(arguments) if Path(name).name == "edgepipe" else ""


def _wrong_arguments(arguments):
    command, arguments = _named(arguments)
    if unknown := _unknown_command(command, arguments):
        return f"there is no command {unknown}"
    try:
        command.make_context(command.name, arguments)
    except typer.Exit:  # what --help and --version do
        return ""
    except Exception as error:  # a usage error of the parser
        return f"{type(error).__name__}: {error}"
    return ""


def _named(arguments):
    """The command that arguments begin with, and the rest of them."""
    command = COMMANDS
    while arguments and arguments[0] in getattr(command, "commands", {}):
        command, arguments = command.commands[arguments[0]], arguments[1:]
    return command, arguments


def _unknown_command(command, arguments):
    """The first of the arguments where a command is missing, unless it is an option; "" when none is missing."""
    first = next(iter(arguments), "")
    return first if hasattr(command, "commands") and not first.startswith("-") else ""


def unknown_words(line):
    """Commands and options of a mention in a sentence, such as ``edgepipe verify --checks``, that are not there."""
    command, rest = _named(shlex.split(line)[1:])
    known = {option for parameter in command.params for option in parameter.opts} | {"--help", "-h"}
    unknown = [word for word in rest if word.startswith("-") and word not in known]
    return [*filter(None, [_unknown_command(command, rest)]), *unknown]


def lost_links(path, page):
    """Links of a page to files and headings that are not there."""
    lost = []
    for link in page.links:
        name, _, fragment = link.partition("#")
        if link.startswith(("http://", "https://")):
            continue
        target = (path.parent / name).resolve() if name else path
        if not target.exists() or (fragment and fragment not in read(target).anchors):
            lost.append(link)
    return lost


def all_commands(command=COMMANDS, name="edgepipe"):
    children = getattr(command, "commands", {})
    return (
        [name] if not children else [each for key in children for each in all_commands(children[key], f"{name} {key}")]
    )


def test_the_generated_pages_are_those_of_the_code():
    there = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "reference").glob("*.md")}
    assert there == reference.pages(), "run scripts/docs"


@pytest.mark.parametrize("name", reference.pages())
def test_a_generated_page_has_words_for_everything(name):
    """No setting or field without a meaning, no names of Python, no text that a renderer takes for markup."""
    text = reference.pages()[name]
    assert re.findall(r"^\| `(\w+)` .*\|  \|$", text if name != "cli.md" else "", re.MULTILINE) == []
    assert re.findall(r"<class|typing\.", text) == []
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    assert [each.content for token in tokens for each in token.children or () if each.type == "html_inline"] == []


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 250


def test_the_config_that_is_shown_is_the_one_that_runs():
    assert (ROOT / "configs" / "digits.yaml").read_text(encoding="utf-8") in [
        block.text for block in read(ROOT / "README.md").blocks
    ]


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)
def test_every_block_is_valid(path, tmp_path):
    found = {block.text: unsound(block, tmp_path) for block in read(path).blocks}
    assert {text: wrong for text, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)
def test_every_command_line_parses(path):
    lines = [line for block in read(path).blocks for line in commands(block)]
    assert {line: wrong for line in lines if (wrong := wrong_line(line))} == {}


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)
def test_every_command_and_script_in_a_sentence_is_there(path):
    code = read(path).code
    mentions = [line for line in code if line.startswith("edgepipe ")]
    assert {line: unknown for line in mentions if (unknown := unknown_words(line))} == {}
    scripts = [line.split()[0] for line in code if line.startswith("scripts/")]
    assert [name for name in scripts if not os.access(ROOT / name, os.X_OK)] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT).with_suffix("")))
def test_every_link_leads_somewhere(path):
    assert lost_links(path, read(path)) == []


def unrefreshable(markdown):
    """Marks of transcripts that `scripts/docs` can't refresh: of a wrong command, or without a block that shows it."""
    wrong = []
    for mark, block in pairwise([*MarkdownIt("commonmark").parse(markdown), None]):
        found = re.fullmatch(r"<!-- transcript: (.+) -->\n", mark.content) if mark.type == "html_block" else None
        shown = commands(_block(block)) if found and block and block.type == "fence" else []
        if "transcript:" in mark.content and mark.type == "html_block":
            sound = found and block and block.type == "fence" and not wrong_line(found[1])
            if not sound or any(line.removeprefix(".venv/bin/") not in found[1] for line in shown):
                wrong.append(mark.content)
    return wrong


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)
def test_every_transcript_can_be_refreshed(path):
    assert unrefreshable(path.read_text(encoding="utf-8")) == []


def test_a_transcript_becomes_what_the_command_prints(tmp_path):
    page = tmp_path / "page.md"
    mark = "<!-- transcript: printf 'a\\nb\\nc\\n' | sed '2,$d'; echo … -->"
    page.write_text(f"A\n\n{mark}\n\n```console\n$ letters\nold\nolder\n```\n\n```\nstays\n```\n", encoding="utf-8")
    refresh = [sys.executable, ROOT / "tests" / "docs" / "refresh.py", page]
    subprocess.run(refresh, check=True)
    assert page.read_text(encoding="utf-8") == f"A\n\n{mark}\n\n```console\n$ letters\na\n…\n```\n\n```\nstays\n```\n"
    page.write_text("<!-- transcript: false -->\n\n```\nold\n```\n")
    assert subprocess.run(refresh, capture_output=True, check=False).returncode == 1
    assert "old" in page.read_text()


def test_every_part_and_command_is_told_on_a_page():
    text = "".join(path.read_text(encoding="utf-8") for path in WRITTEN[1:])
    tags = {"source": [*registry.DATA, *registry.MODELS], "stage": registry.STAGES, "check": registry.CHECKS}
    wanted = [f"`{tag}: {name}`" for tag, names in tags.items() for name in names]
    wanted += [f"`{name}`" for name in (*registry.TASKS, *registry.RUNTIMES, *registry.FORMATS, *targets.names())]
    assert [each for each in [*wanted, *all_commands()] if each not in text] == []


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
    html = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "site").rglob("*.html"))
    loaded = re.findall(
        r'<(?:script|img|iframe)[^>]*src="(https?:[^"]*)|<link[^>]*rel="stylesheet"[^>]*(https?:[^"]*)', html
    )
    assert loaded == [], "a page of the site loads something from elsewhere"


def test_the_menu_of_the_site_names_every_page():
    text = (ROOT / "zensical.toml").read_text(encoding="utf-8")
    named = sorted(re.findall(r'"([\w/]+\.md)"', text))
    assert named == sorted(str(path.relative_to(ROOT / "docs")) for path in PAGES[1:])


@pytest.mark.parametrize(("block", "wrong"), [
    ("```yaml\nname: x\n```", "data: is required"),
    ("* In a list:\n\n  ```yaml\n  name: x\n  ```", "data: is required"),
    ("```yaml stages\n- {stage: train, epochs: 1}\n```", "no test knows"),
    ("    indented", ""),
    ('```yaml title="stages"\n- {stage: trian}\n```', "trian"),
    ('```yaml title="parts"\n- {stage: train, epochs: 1}\n```', "parts"),
    ('```yaml title="promises"\nchecks: [{check: acuracy}]\n```', "did you mean 'accuracy'?"),
    ("```python\nfor\n```", "SyntaxError"),
])  # fmt: skip
def test_a_block_that_is_not_valid_is_found(block, wrong, tmp_path):
    (found,) = parsed(block).blocks
    assert wrong in unsound(found, tmp_path)


@pytest.mark.parametrize("line", [
    "edgepipe rnu x.yaml", "edgepipe run x.yaml --sett a=1", "edgepipe run", "cd there && edgepipe plan x.yaml --out a",
    "EDGEPIPE_STORE=a .venv/bin/edgepipe inspect x.tflite --jsn > x.json", "edgepipe run configs/gone.yaml",
    "scripts/nothing", "scripts/run; scripts/nothing", "edgepipe cache list --older-than 3",
])  # fmt: skip
def test_a_command_that_does_not_parse_is_found(line):
    assert wrong_line(line)


@pytest.mark.parametrize("line", [
    "edgepipe run x.yaml --set a.b=1 --json > x.json", "edgepipe --help", "edgepipe cache clear --older-than 3  # days",
    "scripts/run && git status", "EDGEPIPE_STORE=a .venv/bin/edgepipe plan configs/digits.yaml | head",
])  # fmt: skip
def test_a_command_that_parses_is_not_held_up(line):
    assert wrong_line(line) == ""


def test_an_unknown_word_in_a_sentence_is_found():
    assert unknown_words("edgepipe verify --cheks FILE") == ["--cheks"]
    assert unknown_words("edgepipe verfy FILE") == ["verfy"]
    assert unknown_words("edgepipe cache lst") == ["lst"]
    assert unknown_words("edgepipe verify FILE --checks") == []


@pytest.mark.parametrize("page", [
    "<!-- transcript: edgepipe plan x.yaml -->\n\nNo block.", "<!-- transcript: edgepipe pln x.yaml -->\n\n```\n```",
    "<!-- transcript: edgepipe plan x.yaml -->\n\n```console\n$ edgepipe plan other.yaml\n```",
    "<!-- transcript: edgepipe plan x.yaml-->\n\n```\n```", "<!-- transcript: edgepipe plan x.yaml -->",
])  # fmt: skip
def test_a_transcript_that_can_not_be_refreshed_is_found(page):
    assert len(unrefreshable(page)) == 1


def test_a_link_that_leads_nowhere_is_found(tmp_path):
    (tmp_path / "there.md").write_text("# A `heading`\n# A heading\n")
    text = "[a](there.md) [b](there.md#a-heading) [c](there.md#a-heading-1) [d](there.md#other) ![e](gone.png) `[f](g)`"
    assert lost_links(tmp_path / "page.md", parsed(text)) == ["there.md#other", "gone.png"]
