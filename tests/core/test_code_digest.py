"""The digest of the code that a part runs, on a small package of its own."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pipeline
from pipeline.core import code_digest

PACKAGE = {
    "__init__.py": "",
    "part.py": "from pipeline import helper\n\ndef run():\n    from pipeline.group.inner import deep\n",
    "helper.py": "VALUE = 1\n",
    "group/__init__.py": "from pipeline.other import NAME\n",
    "group/inner.py": "deep = 2\n",
    "other.py": "NAME = 3\n",
    "named.py": "from pipeline.group import NAME\n",
}


@pytest.fixture
def digest(tmp_path):
    """The digest of a module of the package, after changes {file: source}, computed by a process of its own."""

    def compute(changes, module="pipeline.part"):
        shutil.rmtree(tmp_path / "pipeline", ignore_errors=True)
        for name, source in {**PACKAGE, **changes}.items():
            path = tmp_path / "pipeline" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)
        (tmp_path / "pipeline" / "core").mkdir()
        shutil.copy(code_digest.__file__, tmp_path / "pipeline" / "core")
        program = f"from pipeline.core import code_digest; print(code_digest.digest({module!r}))"
        return subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout

    return compute


def test_comments_docstrings_and_layout_do_not_count(digest):
    changed = '"""A docstring."""\n\n# a comment\nVALUE = (\n    1\n)\n'
    assert digest({"helper.py": changed}) == digest({})


@pytest.mark.parametrize("name", ["part.py", "helper.py", "group/inner.py"])
def test_code_counts_wherever_it_is_imported(digest, name):
    assert digest({name: PACKAGE[name] + "MORE = 1\n"}) != digest({})


def test_code_that_is_not_imported_does_not_count(digest):
    assert digest({"other.py": "NAME = 4\n", "new.py": "x = 1\n"}) == digest({})


def test_what_is_imported_for_type_checkers_does_not_count(digest):
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pipeline.other import NAME\nVALUE = 1\n"
    assert digest({"helper.py": typed, "other.py": "NAME = 4\n"}) == digest({"helper.py": typed})


def test_a_name_that_a_package_hands_on_counts(digest):
    assert digest({"other.py": "NAME = 4\n"}, "pipeline.named") != digest({}, "pipeline.named")


def test_the_package_has_no_relative_imports_which_the_digest_does_not_follow():
    for path in Path(pipeline.__file__).parent.rglob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        assert not [node for node in nodes if isinstance(node, ast.ImportFrom) and node.level], path


def test_what_is_no_module_of_the_package_is_refused():
    with pytest.raises(ValueError, match=r"os\.path is no module of pipeline"):
        code_digest.digest("os.path")
