"""What the last run of each config took from the store: ``runs/<name>.json`` below the store's root, step -> key.

``plan --explain`` compares with that run first. Nothing else reads it, and without it nothing is lost.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

FOLDER = "runs"


def remember(root: Path, config: str, keys: Mapping[str, str]) -> None:
    """Write the keys of a run's steps, added to those of steps that the config's last run had and this one has not."""
    path = root / FOLDER / f"{config}.json"
    kept = {**last(root, config), **keys}
    with suppress(OSError):  # such as a store that may only be read
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(kept, indent=1), encoding="utf-8")


def last(root: Path, config: str) -> dict[str, str]:
    """Step -> key of the last run of a config of this name; empty when there was none."""
    try:
        kept = json.loads((root / FOLDER / f"{config}.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return {name: str(key) for name, key in kept.items()} if isinstance(kept, dict) else {}
