"""Settings as YAML text: the resolved config in ``config.yaml`` and on the page, and the stages of a rung."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import yaml


def settings_text(settings: Any) -> str:
    """Return settings as YAML. They are JSON values; those that are null mean the same when left out, and are."""
    return _dumped(json.dumps(_given(settings)))


def _given(value: Any) -> Any:
    """The value without the settings in it that are null."""
    if isinstance(value, Mapping):
        return {key: _given(item) for key, item in value.items() if item is not None}
    return [_given(item) for item in value] if isinstance(value, list | tuple) else value


@lru_cache(maxsize=1)  # a run asks twice for its config, and PyYAML takes 10 ms for that of configs/digits.yaml
def _dumped(settings: str) -> str:
    return str(yaml.safe_dump(json.loads(settings), sort_keys=False, allow_unicode=True))
