"""The command line interface: parses arguments, calls `pipeline.cli.commands` and sets the exit code.

Results go to standard output, as one JSON document with --json; progress and errors go to standard error.
"""

import atexit
import gc
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline import __version__
from pipeline.cli import completion, failures, output
from pipeline.cli.signals import raised
from pipeline.core.errors import ConfigError, Fault
from pipeline.core.home import expanded

app = typer.Typer(
    name="edgepipe",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
cache_app = typer.Typer(help="The store of finished stages.", no_args_is_help=True)
app.add_typer(cache_app, name="cache")

_USAGE_ERROR: Any = typer.BadParameter.__mro__[1]  # UsageError, of a copy of click that is private to typer


def _shown(*examples: str, codes: str = "") -> str:
    """The text below a command's help: examples, and the exit codes that it has besides 0."""
    parts = ["[bold]Examples[/]", *(f"  edgepipe {example}" for example in examples)]
    common = "2: wrong usage or config. 3: wrong data or model file. 4: a stage or the disk failed."
    return "\n\n".join([*parts, f"[bold]Exit codes[/]  {codes or common}"])


_CHECKED = (
    "2: wrong usage or config. 3: wrong data or model file. 4: a stage or the disk failed. 5: a check did not pass."
)

ConfigPath = Annotated[
    Path,
    typer.Argument(metavar="CONFIG", help="The YAML file.", show_default=False, autocompletion=completion.configs),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Change a setting, such as stages.prune.sparsity=0.7; repeatable.",
        autocompletion=completion.settings,
    ),
]
TargetOption = Annotated[
    str | None,
    typer.Option(
        "--target",
        metavar="NAME",
        help="The device, in the place of the config's `target:`.",
        autocompletion=completion.targets,
    ),
]
StoreOption = Annotated[
    Path | None,
    typer.Option(
        "--store",
        metavar="DIR",
        envvar="EDGEPIPE_STORE",
        help="Where finished stages are kept.",
        show_default="user's cache",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


def _print_version(asked: bool) -> None:
    if asked:
        print(f"edgepipe {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, help="Print the version and leave.", is_eager=True)
    ] = False,
) -> None:
    """Take a Keras model to the edge: train, prune, quantize, convert to TFLite, and prove what ships."""
    # What a command imports is a hundred thousand objects and no garbage. Looking for some, at the end once more, took
    # a fifth of a run that finds everything in the store. Work that takes much memory has processes of its own.
    gc.set_threshold(200_000)
    atexit.register(gc.freeze)


@app.command(
    epilog=_shown(
        "run digits.yaml",
        "run digits.yaml --target cortex-m4 --set stages.prune.sparsity=0.7",
        "run digits.yaml --out build --json > report.json",
        codes=_CHECKED,
    )
)
def run(
    config: ConfigPath,
    set_: SetOption = None,
    target: TargetOption = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the run's folder is put.")] = Path("runs"),
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """Run a config; stages that are in the store do not run again. Exit code 5 if a check fails."""
    from pipeline.cli import commands

    raise typer.Exit(commands.run(config, set_ or [], target, out, _store(store), json_))


@app.command(
    epilog=_shown(
        "plan digits.yaml --explain",
        "plan digits.yaml --target rp2040 --json",
    )
)
def plan(
    config: ConfigPath,
    set_: SetOption = None,
    target: TargetOption = None,
    store: StoreOption = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say why a stage has to run.")] = False,
    json_: JsonOption = False,
) -> None:
    """Show which stages are in the store and which would run, without running anything."""
    from pipeline.cli import commands

    commands.plan(config, set_ or [], target, _store(store), explain, json_)


@app.command(
    epilog=_shown(
        "inspect model.tflite",
        "inspect model.tflite --json",
        "inspect network.h5",
        codes="2: wrong usage. 3: the file can't be read.",
    )
)
def inspect(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="Any .tflite file, or a .h5 or .keras file.", show_default=False)
    ],
    json_: JsonOption = False,
) -> None:
    """Show what a .tflite file or a Keras model file contains, as read from its bytes. Nothing in it runs."""
    from pipeline.cli import commands

    commands.inspect(model, json_)


@app.command(
    epilog=_shown(
        "targets",
        "targets cortex-m4",
        codes="2: there is no such target.",
    )
)
def targets(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Show one, or one from a YAML file, in full.", show_default=False),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """List the built-in targets for `target:` of a config, or show what one requires."""
    from pipeline.cli import commands

    commands.targets(name, json_)


@app.command(
    epilog=_shown(
        "verify model.tflite --data test.npz --baseline float.tflite",
        "verify model.tflite --target esp32-s3 --checks promises.yaml --out verified",
        "verify --report runs/digits/report.json --rerun",
        codes=_CHECKED,
    )
)
def verify(
    context: typer.Context,
    model: Annotated[
        Path | None, typer.Argument(metavar="[MODEL.tflite]", help="Any .tflite file.", show_default=False)
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="SPEC", help="digits, an .npz file, or a YAML file with `data:`."),
    ] = None,
    quantized: Annotated[
        bool | None,
        typer.Option(
            "--quantized/--no-quantized",
            help="Whether the data are integers as the file's input stores them. Default: found out, or asked for.",
            show_default=False,
        ),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option("--baseline", metavar="FILE", help="The file that drops are measured against."),
    ] = None,
    checks: Annotated[
        Path | None, typer.Option("--checks", metavar="FILE", help="A YAML file with `checks:`, `target:` or both.")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", metavar="NAME", help="A device, as `edgepipe targets` lists them.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Write the report's pages there.")] = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Check a run folder by its report.json, not a file.")
    ] = None,
    rerun: Annotated[bool, typer.Option("--rerun", help="With --report: measure everything again.")] = False,
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """Measure and check any .tflite file, or check a run folder again. Exit code 5 if a check fails."""
    from pipeline.cli import commands

    given = {name for name in context.params if str(context.get_parameter_source(name)).endswith("COMMANDLINE")}
    commands.check_verify(given)
    if report is not None:
        raise typer.Exit(commands.recheck(report, data, rerun, _store(store), json_))
    assert model is not None
    raise typer.Exit(commands.verify(model, data, baseline, checks, target, out, json_, quantized))


@app.command(
    epilog=_shown(
        "compare runs/before runs/after",
        "compare runs/before runs/after --fail-on drop=0.005 --fail-on size=1000",
        codes="2: wrong usage. 3: a folder can't be read. 5: a limit is exceeded.",
    )
)
def compare(
    a: Annotated[Path, typer.Argument(metavar="RUN_A", help="A run folder, the one to hold to.", show_default=False)],
    b: Annotated[Path, typer.Argument(metavar="RUN_B", help="The other.", show_default=False)],
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-on", metavar="NAME=LIMIT", help="End with 5 beyond a limit, such as drop=0.005; repeatable."
        ),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Show the differences between two runs: accuracy, flips, size, MACs, arena, ops, layers."""
    from pipeline.cli import commands

    raise typer.Exit(commands.compare(a, b, fail_on or [], json_))


@app.command(
    epilog=_shown(
        "export model.tflite",
        "export model.tflite --format c --set prefix=kws --out firmware/src",
    )
)
def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL.tflite", help="Any .tflite file.", show_default=False)],
    format_: Annotated[
        str,
        typer.Option(
            "--format", metavar="NAME", help="The form to write; c is a C array.", autocompletion=completion.formats
        ),
    ] = "c",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A setting of the format, such as prefix=kws; repeatable."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder that gets the files.")] = Path(),
    json_: JsonOption = False,
) -> None:
    """Write a .tflite file in the form that a firmware or an app takes."""
    from pipeline.cli import commands

    commands.export(model, format_, set_ or [], out, json_)


@app.command(
    epilog=_shown(
        "schema > edgepipe.schema.json",
        codes="none",
    )
)
def schema() -> None:
    """Print the JSON Schema of a config file, for editors."""
    from pipeline.cli import commands

    commands.schema()


@app.command(
    epilog=_shown(
        "init",
        "init kws.yaml --data kws.npz --target cortex-m4 --name kws",
        codes="2: the file is there already, or can't be written. 3: the data can't be read.",
    )
)
def init(
    path: Annotated[Path, typer.Argument(metavar="CONFIG", help="The file to write.")] = Path("edgepipe.yaml"),
    data: Annotated[
        str | None,
        typer.Option(
            "--data", metavar="SPEC", help="digits, diabetes, an .npz file, a folder of pictures, or {source: ...}."
        ),
    ] = None,
    target: Annotated[str | None, typer.Option("--target", metavar="NAME", help="The device.")] = None,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Name of the run.")] = None,
) -> None:
    """Write a commented starter config, for your own data and device where they are named."""
    from pipeline.cli import commands

    commands.init(path, name, data, target)


@cache_app.command("list", epilog=_shown("cache list", codes="4: the store can't be read."))
def cache_list(store: StoreOption = None, json_: JsonOption = False) -> None:
    """List the finished stages in the store, newest first."""
    from pipeline.cli import commands

    commands.cache_list(_store(store), json_)


@cache_app.command(
    "clear", epilog=_shown("cache clear --older-than 30", codes="2: wrong usage. 4: the store can't be written.")
)
def cache_clear(
    store: StoreOption = None,
    older_than: Annotated[float, typer.Option("--older-than", min=0, metavar="DAYS", help="Only what is older.")] = 0,
) -> None:
    """Remove finished stages from the store; run folders keep their files."""
    from pipeline.cli import commands

    commands.cache_clear(_store(store), older_than)


def _store(given: Path | None) -> Path:
    if given is not None:
        given = Path(expanded(str(given)))  # a variable is often set where no shell expands it
        os.environ["EDGEPIPE_STORE"] = str(given)  # for decoded data, which lie beside the finished stages
        return given
    import platformdirs

    return platformdirs.user_cache_path("edgepipe")


def _at_home(argument: str) -> str:
    """The argument with ``~/`` and ``--option=~/`` expanded, as some shells and no other programs do."""
    option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    return option + equals + expanded(value)


def _run() -> None:
    """Run the command line. With --json, wrong usage is an error like all others."""
    if not failures.wants_json():
        app(prog_name="edgepipe")
    try:
        sys.exit(app(prog_name="edgepipe", standalone_mode=False))
    except Exception as error:
        if not isinstance(error, _USAGE_ERROR):
            raise
        raise ConfigError(Fault(error.format_message().rstrip("."), do="edgepipe --help lists the commands")) from None


def main() -> None:
    """Entry point of the `edgepipe` command."""
    output.install()
    sys.argv[1:] = map(_at_home, sys.argv[1:])
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # it would look through all packages: 2 % of a run
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")  # NumPy's threads would spin for 50 ms, waiting for work
    with failures.told(), raised():
        try:
            _run()
        finally:
            sys.stdout.flush()  # here, so that `told` handles a failure
