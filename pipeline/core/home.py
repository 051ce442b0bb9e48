"""Paths in the user's home folder."""

import contextlib
from pathlib import Path


def expanded(path: str) -> str:
    """The path with a leading ``~/`` replaced by the home folder; as it is where the system knows none."""
    with contextlib.suppress(RuntimeError):
        return str(Path(path).expanduser()) if path.startswith("~/") else path
    return path
