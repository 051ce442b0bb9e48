"""What a command says when it fails or is ended, and its exit code."""

import contextlib
import errno
import os
import shutil
import sys
from collections.abc import Iterator

from pipeline.cli.signals import Ended
from pipeline.core.errors import EdgepipeError, StoreError

_MOST_FAULTS = 50  # that are printed; nobody reads ten thousand


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Print an error, or the signal that ended the command, and leave with its exit code."""
    try:
        yield
    except EdgepipeError as error:
        if wants_json():
            _print_error(error)
        lines = [_fitted(f"error: {fault}") for fault in error.faults[:_MOST_FAULTS]]
        if more := len(error.faults) - len(lines):
            lines.append(f"error: and {more:,} more")
        print("\n".join(lines), file=sys.stderr)
        sys.exit(error.exit_code)
    except Ended as end:
        print(end, file=sys.stderr)
        sys.exit(128 + end.number)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        print(f"error: standard output can't be written (received {error.strerror})", file=sys.stderr)
        sys.exit(StoreError.exit_code)


def _fitted(text: str) -> str:
    """The text, in lines between phrases on a terminal; elsewhere as it is, for programs that look for the place."""
    if not sys.stderr.isatty():
        return text
    from pipeline.report.wrapping import wrapped

    width = shutil.get_terminal_size().columns
    return "\n".join(line for each in text.split("\n") for line in wrapped(each, width, "    "))


def wants_json() -> bool:
    """Whether the command line asks for JSON."""
    return "--json" in sys.argv[1:]


def _print_error(error: EdgepipeError) -> None:
    """Print an error as one JSON document: ``{"error": {"exit_code": 2, "faults": [{"rule": ...}]}}``."""
    import json
    from dataclasses import asdict

    faults = [asdict(fault) for fault in error.faults]
    print(json.dumps({"error": {"exit_code": error.exit_code, "faults": faults}}, indent=2))
