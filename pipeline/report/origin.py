"""When, from what and by which command a report was made. Nothing that is reproducible depends on it."""

import os
import shlex
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

from pipeline.report.document import Origin

_SECONDS = 5  # that git may take; a repository on a slow network drive is no reason to wait


def origin(config: Path | None = None) -> Origin:
    """The origin of a report that is made now by this process.

    config: the config file of a run, whose git repository is asked for its commit; None to ask no repository.
    """
    commit, dirty = _commit(config) if config else (None, None)
    return Origin(
        date=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        command=shlex.join(["edgepipe", *sys.argv[1:]]),
        commit=commit,
        dirty=dirty,
    )


def _commit(config: Path) -> tuple[str | None, bool | None]:
    """The commit that is checked out where a config is, and whether tracked files or the config differ from it."""
    told = _git(config.parent, "status", "--porcelain=v2", "--branch", "--untracked-files=no")
    lines = told.splitlines() if told else []
    commit = next((line.split()[-1] for line in lines if line.startswith("# branch.oid ")), "")
    if len(commit) < 40:  # no git, no repository, or no commit yet
        return None, None
    changed = any(not line.startswith("#") for line in lines)
    return commit, changed or _git(config.parent, "ls-files", "--error-unmatch", "--", config.name) is None


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints; None when it fails."""
    command = ["git", "-C", str(folder), "-c", "core.fsmonitor=false", *arguments]
    environment = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS, env=environment, check=True, errors="replace"
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
