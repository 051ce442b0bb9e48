"""The compiled template is found again, and what is damaged, old or not this user's is passed over."""

import marshal
import os
import tempfile
from pathlib import Path

import jinja2
import pytest

from pipeline.report.template_cache import TemplateCache


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where temporary folders are made, in place of the machine's own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def compiled(monkeypatch):
    """How often a template was compiled."""
    found = []
    whole = jinja2.Environment.compile

    def compile_(self, *args, **kwargs):
        found.append(args)
        return whole(self, *args, **kwargs)

    monkeypatch.setattr(jinja2.Environment, "compile", compile_)
    return found


def rendered(text="a {{ x }}", environment=b"", **options):
    loader = jinja2.DictLoader({"page": text})
    cache = TemplateCache(environment)
    return jinja2.Environment(loader=loader, bytecode_cache=cache, **options).get_template("page").render(x="<1>")


def kept(folder):
    return [path for path in folder.rglob("edgepipe-*") if path.is_file()]


def test_a_template_is_compiled_once(folder, compiled):
    assert [rendered() for _ in range(3)] == ["a <1>"] * 3
    assert len(compiled) == len(kept(folder)) == 1


def test_another_template_or_other_options_are_compiled(folder, compiled):
    assert rendered() == "a <1>"
    assert rendered("b {{ x }}") == "b <1>"
    assert rendered("b {{ x }}", b"escaped", autoescape=True) == "b &lt;1&gt;"
    assert len(compiled) == 3


def test_another_release_of_jinja2_compiles_again(folder, compiled, monkeypatch):
    rendered()
    monkeypatch.setattr(jinja2, "__version__", "99.0")
    assert rendered() == "a <1>"
    assert len(compiled) == 2


@pytest.mark.parametrize(
    "damage",
    [lambda code: code[:-1], lambda code: b"", lambda code: code[:40], lambda code: code[:-9] + b"123456789",
     lambda code: bytes(32) + marshal.dumps(compile("1/0", "evil", "exec"))],
    ids=["shorter", "empty", "head", "changed", "other"],
)  # fmt: skip
def test_what_is_damaged_is_compiled_again_and_replaced(folder, compiled, damage):
    rendered()
    (path,) = kept(folder)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert rendered() == "a <1>"
    assert path.read_bytes() == whole
    assert len(compiled) == 2


def test_a_folder_that_is_not_this_users_alone_is_not_used(folder, compiled):
    link = folder / f"_jinja2-cache-{os.getuid()}"
    (folder / "elsewhere").mkdir()
    link.symlink_to(folder / "elsewhere")
    assert [rendered(), rendered()] == ["a <1>", "a <1>"]
    assert len(compiled) == 2
    assert not kept(folder)


def test_without_a_folder_templates_are_compiled(monkeypatch, compiled):
    monkeypatch.setattr(tempfile, "tempdir", str(Path("nowhere") / "at" / "all"))
    assert [rendered(), rendered()] == ["a <1>", "a <1>"]
    assert len(compiled) == 2
