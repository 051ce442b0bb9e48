"""The generated pages of the documentation: ``python -m pipeline.cli.reference FOLDER`` writes them."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer

from pipeline.cli.app import app
from pipeline.config import reference
from pipeline.report.document import Report

INDEX = """# Reference

These pages are generated from the code by `scripts/docs`, and a test compares them.

* [A config file](config.md)
* [Data sources](data.md)
* [Models](models.md)
* [Stages](stages.md)
* [Checks](checks.md)
* [Targets](targets.md)
* [Export formats](export.md)
* [Command line](cli.md)
* [report.json](report.md)
"""

EXIT_CODES = """## Exit codes

| code | meaning |
|---|---|
| 0 | done, and every check passed |
| 1 | a bug of edgepipe |
| 2 | the config, a `--set` or an option is wrong |
| 3 | data or a model file is wrong |
| 4 | a stage failed |
| 5 | a check failed, or a limit of `compare` is exceeded; the report is still written |
"""


def pages() -> Mapping[str, str]:
    """Markdown by the name of the page."""
    return {
        "index.md": INDEX,
        **reference.pages(),
        "cli.md": "\n".join(["# Command line\n", *_commands(typer.main.get_command(app), "edgepipe"), EXIT_CODES]),
        "report.md": reference.page("report.json", [Report]),
    }


def _commands(command: Any, name: str) -> Iterator[str]:
    """A section for each command, with its arguments and options."""
    for child in getattr(command, "commands", {}).values():
        yield from _commands(child, f"{name} {child.name}")
    if hasattr(command, "commands"):
        return
    yield f"## {name}\n"
    yield f"{command.help}\n"
    yield "| | | default |\n|---|---|---|"
    for parameter in command.params:
        if parameter.name != "help":
            yield _parameter(parameter)
    yield ""


def _parameter(parameter: Any) -> str:
    shown = getattr(parameter, "show_default", False)
    default = (
        shown if isinstance(shown, str) else "" if parameter.default in (None, False) else f"`{parameter.default}`"
    )
    metavar = parameter.metavar or ""
    names = ", ".join(f"`{option} {metavar}`".replace(" `", "`") for option in parameter.opts)
    text = f"`{metavar}`" if parameter.param_type_name == "argument" else names
    variable = f" Or the variable `{parameter.envvar}`." if parameter.envvar else ""
    return f"| {text} | {parameter.help}{variable} | {default} |"


def write(folder: Path) -> None:
    """Write the pages, and remove those that are no longer made."""
    folder.mkdir(parents=True, exist_ok=True)
    made = pages()
    for path in folder.glob("*.md"):
        if path.name not in made:
            path.unlink()
    for name, text in made.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
