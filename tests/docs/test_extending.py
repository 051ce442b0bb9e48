"""What docs/extending.md tells to add is added to a copy of the tree, as a reader would, and its tests run there."""

import re
import shutil

import pytest

from tests import ROOT
from tests.support.tree import Tree

PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
FILES = re.findall(r"`((?:pipeline|tests)/[^`]+)`:\n\n```[^\n]*\n(.*?)```", PAGE, re.DOTALL)
LINES = re.findall(r"One line in `(\w+)`[^\n]*:\n\n```python\n(.*?)\n```", PAGE, re.DOTALL)
TESTS = [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "def test_" in block]
CONFIG = "configs/digits.yaml"


@pytest.mark.slow
def test_each_example_works_as_it_is_written_and_changes_no_key(tmp_path):
    tree = Tree(tmp_path)
    for name in ("tests", "configs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    before = tree.keys(CONFIG)
    for path, content in FILES:
        if not path.endswith("registry.py"):
            (tmp_path / path).write_text(content, encoding="utf-8")
    for table, line in LINES:
        tree.insert("config/registry.py", rf"^{table} = {{", line)
    paths = [tmp_path / "tests" / f"test_example{i}.py" for i in range(len(TESTS))]
    for path, block in zip(paths, TESTS, strict=True):
        path.write_text(block, encoding="utf-8")
    assert (len(LINES), len(TESTS)) == (5, 5)
    assert "5 passed" in tree.python("-m", "pytest", "-q", "-p", "no:cacheprovider", *paths)
    assert "ram" in tree.python("-m", "pipeline", "targets", "my-board").lower()
    assert tree.keys(CONFIG) == before
