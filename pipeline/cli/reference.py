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

A check that fails is a result: the report is written before the command ends with 5.

| code | meaning |
|---|---|
| 0 | done, and every check passed |
| 1 | a bug of edgepipe |
| 2 | the config, a `--set` or an option is wrong |
| 3 | data or a model file is wrong |
| 4 | a stage failed, or the store or standard output can't be written |
| 5 | a check failed, a limit of `compare` is exceeded, or a run folder is not what its report says |
| 129, 130, 143 | ended by SIGHUP, Ctrl-C or SIGTERM; the same command goes on from there |
"""

REPORT = """The file `report.json` of a run folder. `edgepipe run --json` prints the same, and `edgepipe verify FILE
--json` prints one for any file. `schema_version` is 1: later versions of edgepipe add fields and rename none. Fractions
are from 0 to 1, sizes are in bytes, times in the unit that their name says. What was not measured is null, and never a
zero."""


def pages() -> Mapping[str, str]:
    """Markdown by the name of the page."""
    commands = "\n".join(_commands(typer.main.get_command(app), "edgepipe"))
    return {
        "index.md": INDEX,
        **reference.pages(),
        "cli.md": f"# Command line\n\n{reference.GENERATED}\n\n{commands}\n{EXIT_CODES}",
        "report.md": reference.page("report.json", [Report], reference.fields, REPORT),
    }


def _commands(command: Any, name: str) -> Iterator[str]:
    """A section for each command, with its usage, its arguments and its options."""
    yield f"## {name}\n"
    yield f"{reference.escaped(command.help)}\n"
    children = getattr(command, "commands", {})
    shown = [parameter for parameter in command.params if parameter.name != "help"]
    words = [name, *(["[OPTIONS]"] if any(map(_is_option, shown)) else []), *(["COMMAND"] if children else [])]
    yield "```text\n" + " ".join([*words, *(_placeholder(each) for each in shown if not _is_option(each))]) + "\n```\n"
    rows = ((_name(each), _meaning(each), _default(each)) for each in shown)
    yield from reference.table(("argument or option", "meaning", "default"), rows)
    for child, below in children.items():
        yield from _commands(below, f"{name} {child}")


def _is_option(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "option")


def _placeholder(argument: Any) -> str:
    plain = argument.metavar.strip("[]")
    return plain if argument.required else f"[{plain}]"


def _name(parameter: Any) -> str:
    if not _is_option(parameter):
        return f"`{parameter.metavar.strip('[]')}`"
    return ", ".join(f"`{option} {parameter.metavar or ''}`".replace(" `", "`") for option in parameter.opts)


def _meaning(parameter: Any) -> str:
    variable = f" The variable `{parameter.envvar}` sets it too." if parameter.envvar else ""
    return reference.escaped(parameter.help) + variable


def _default(parameter: Any) -> str:
    if parameter.required:
        return "**required**"
    if isinstance(parameter.show_default, str):
        return str(parameter.show_default)
    return "" if parameter.default in (None, False) else f"`{parameter.default}`"


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
