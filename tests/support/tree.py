"""A copy of the package, to be changed, with processes that run it in place of the package of the tests."""

import json
import os
import re
import shutil
import subprocess
import sys

from tests import ROOT

KEYS = """
import json, sys
from pathlib import Path
from pipeline.config import config
from pipeline.engine.plan import plan
print(json.dumps({step.name: step.key for step in plan(*config.load(Path(sys.argv[1])))}))
"""


class Tree:
    """A copy of the package below a folder."""

    def __init__(self, folder):
        self.folder, self.package = folder, folder / "pipeline"
        shutil.copytree(ROOT / "pipeline", self.package, ignore=shutil.ignore_patterns("__pycache__"))

    def python(self, *arguments):
        """Standard output of a Python process in which, as in those that it starts, `pipeline` is the copy."""
        command, environment = [sys.executable, *map(str, arguments)], os.environ | {"PYTHONPATH": str(self.folder)}
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def keys(self, config):
        """The key of each step of a config file."""
        return json.loads(self.python("-c", KEYS, config))

    def add(self, table, name, module, text):
        """A module with one class, and its line in a table of the registry."""
        (self.package / f"{module.replace('.', '/')}.py").write_text(text)
        (kind,) = re.findall(r"^class (\w+)", text, re.MULTILINE)
        self.insert("config/registry.py", rf"^{table} = {{", f'    "{name}": "pipeline.{module}:{kind}",')

    def insert(self, path, pattern, line):
        """A line below the one line of a file that matches a pattern."""
        old = (self.package / path).read_text()
        new, count = re.subn(rf"({pattern}.*\n)", lambda found: f"{found[1]}{line}\n", old, flags=re.MULTILINE)
        assert count == 1, path
        (self.package / path).write_text(new)
