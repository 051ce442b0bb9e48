"""Apply the command line option `--set`, which changes one setting of a config."""

from typing import Any

from pipeline.core import validation, yaml
from pipeline.core.errors import ConfigError, Fault, Place, did_you_mean


def override(value: dict[str, Any], option: str) -> Place:
    """Apply one ``a.b.c=value`` to the values in place, and return the place that was written.

    List items, such as stages, are addressed by name or by position from 0. Missing mappings are created. Raises
    ConfigError for an option that can't be applied.
    """
    where = f"--set {option}"
    path, separator, text = option.partition("=")
    if not separator or not all(path.split(".")):
        raise ConfigError(Fault("must be a dotted name, `=` and a value", where=where, do="such as seed=3"))
    parsed = yaml.parse(text, where).value
    place: list[str | int] = []
    target: Any = value  # core.yaml makes only dicts and lists
    *parents, last = path.split(".")
    for part in parents:
        key = _key(target, part, where)
        if isinstance(target, dict) and target.get(key) is None:
            target[key] = {}
        target = target[key]
        place.append(key)
    key = _key(target, last, where)
    target[key] = parsed
    return (*place, key)


def _key(target: Any, part: str, where: str) -> str | int:
    if isinstance(target, dict):
        return part
    if isinstance(target, list):
        names = [validation.item_name(item, i) for i, item in enumerate(target)]
        if names.count(part) > 1:
            raise ConfigError(Fault(f"{part!r} is the name of {names.count(part)} items; use a position", where=where))
        if part in names:
            return names.index(part)
        if part.isdecimal() and int(part) < len(target):
            return int(part)
        raise ConfigError(Fault(f"there is no item {part!r}", where=where, do=did_you_mean(part, names)))
    raise ConfigError(Fault(f"there is nothing below it to set as {part!r}", where=where, received=yaml.show(target)))
