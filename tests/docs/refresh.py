"""Run the commands whose output pages show, and put what they print in its place: refresh.py PAGE ...

``<!-- transcript: edgepipe plan configs/digits.yaml -->`` marks the fenced block that follows. A line ``$ ...`` at its
top stays; everything below it becomes the command's standard output, 80 columns wide.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MARKED = re.compile(r"(<!-- transcript: (.+?) -->\n+```\w*\n(?:\$ [^\n]*\n)?)(.*?)(```\n)", re.DOTALL)


def output(command: str) -> str:
    """What the command prints, run at the top of the repository with the environment of scripts/setup."""
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1", "PATH": f"{ROOT}/.venv/bin:{os.environ['PATH']}"}
    done = subprocess.run(
        shlex.split(command), cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode not in (0, 5):  # 5: a check failed, which some pages show
        sys.exit(f"{command}: ended with {done.returncode}")
    return "".join(f"{line.rstrip()}\n" for line in done.stdout.strip("\n").splitlines())


def main() -> None:
    for name in sys.argv[1:]:
        page = Path(name)
        text = page.read_text(encoding="utf-8")
        page.write_text(MARKED.sub(lambda each: f"{each[1]}{output(each[2])}{each[4]}", text), encoding="utf-8")


if __name__ == "__main__":
    main()
