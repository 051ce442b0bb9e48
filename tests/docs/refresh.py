"""Run the commands whose output pages show, and put what they print in its place: refresh.py PAGE ...

A comment ``<!-- transcript: edgepipe run tiny.yaml | sed '9,$d'; echo … -->`` marks the fenced block behind it.
It holds a line for bash, run at the top of the repository. A line ``$ ...`` at the top of the block stays; everything
below it becomes the standard output, 80 columns wide and without colours.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MARK = re.compile(r"^<!-- transcript: (.+) -->$", re.MULTILINE)
MARKED = re.compile(MARK.pattern + r"(\n+```\w*\n(?:\$ .*\n)?)((?:(?!```).*\n)*)", re.MULTILINE)


def output(line: str) -> str:
    """What the line prints with the environment of scripts/setup. CalledProcessError where it fails."""
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1", "PATH": f"{ROOT}/.venv/bin:{os.environ['PATH']}"}
    command = ["bash", "-e", "-o", "pipefail", "-c", line]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, 5):  # 5: a check failed, which some pages show
        raise subprocess.CalledProcessError(done.returncode, line)
    return "".join(f"{each.rstrip()}\n" for each in done.stdout.strip("\n").splitlines())


def refreshed(text: str) -> str:
    """The page with the output of today. ValueError for a mark that no block follows."""
    if lost := len(MARK.findall(text)) - len(MARKED.findall(text)):
        raise ValueError(f"no block follows {lost} of the marks")
    return MARKED.sub(lambda each: f"<!-- transcript: {each[1]} -->{each[2]}{output(each[1])}", text)


if __name__ == "__main__":
    for page in map(Path, sys.argv[1:]):
        page.write_text(refreshed(page.read_text(encoding="utf-8")), encoding="utf-8")
