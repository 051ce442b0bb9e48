"""The files of a folder with their labels: from class folders, from split folders, or from a table."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import Fault, InputError, did_you_mean
from pipeline.data.source import SPLITS

_SPLIT_NAMES = {split: split for split in SPLITS} | {"val": "validation", "valid": "validation", "dev": "validation"}
_OF_SYSTEMS = {"thumbs.db", "desktop.ini"}  # files that file managers leave behind


@dataclass(frozen=True)
class Listed:
    """One file of a data set.

    path   the file
    name   its path below the folder, with `/`
    label  name of its class
    split  the split that its folder or the table puts it in; None if it is to be cut
    group  what it belongs to, such as a person; files of one group get into one split
    """

    path: Path
    name: str
    label: str
    split: str | None = None
    group: str | None = None


def of_folder(folder: Path) -> list[Listed]:
    """List the files in class folders, or in class folders inside of split folders, ordered by name.

    Hidden files are left out. Raises InputError for a folder that has no class folders, or files beside them.
    """
    names = [child.name for child in _children(folder) if child.is_dir()]
    if names and all(name.lower() in _SPLIT_NAMES for name in names):
        found = [
            Listed(each.path, f"{name}/{each.name}", each.label, _SPLIT_NAMES[name.lower()])
            for name in names
            for each in _of_classes(folder / name)
        ]
    else:
        found = list(_of_classes(folder))
    _check_classes(folder, found)
    return found


def _of_classes(folder: Path) -> Iterator[Listed]:
    children = _children(folder)
    if loose := [child.name for child in children if not child.is_dir()]:
        rule = "must hold a folder for each class, and no file beside them"
        do = "move each file into the folder of its class, or name a table of paths and labels with `table:`"
        raise InputError(Fault(rule, where=str(folder), received=_listed(loose), do=do))
    for child in children:
        files = list(_walk(child))
        if not files:
            raise InputError(Fault("holds no file of its class", where=str(child), do="remove the folder, or fill it"))
        yield from (Listed(path, path.relative_to(folder).as_posix(), child.name) for path in files)


def of_table(table: Path, folder: Path) -> list[Listed]:
    """List the files of a CSV table with the columns `path` and `label`, and optionally `split` and `group`.

    Paths are relative to `folder`. Raises InputError with the line of each kind of fault.
    """
    from pipeline.data.table import read

    rows = read(table, ("path", "label"), ("split", "group"))
    columns, found, lost = rows.columns, [], []
    for i, (name, label) in enumerate(zip(columns["path"], columns["label"], strict=True)):
        where = rows.where(i)
        path = folder / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise InputError(Fault("a path must lie inside of the folder", where=where, received=name))
        if not path.is_file():
            lost.append(f"{where}: {name}")
        split = columns["split"][i].strip() if "split" in columns else ""
        if split and split.lower() not in _SPLIT_NAMES:
            raise InputError(Fault("there is no such split", where, "split", split, did_you_mean(split, SPLITS)))
        group = columns["group"][i] if "group" in columns else None
        found.append(Listed(path, name, label, _SPLIT_NAMES.get(split.lower()), group))
    if lost:
        rule = f"names {len(lost)} of {len(found)} files that are not there"
        raise InputError(Fault(rule, where=str(table), received=_listed(lost)))
    _check_classes(table, found)
    return found


def grouped(files: Sequence[Listed], pattern: str) -> list[Listed]:
    """Return the files with the group that the first parenthesis of a regular expression finds in each name.

    Raises InputError if it does not find one in every name.
    """
    rule, found = re.compile(pattern), []
    for each in files:
        match = rule.search(each.name)
        if not match or not match.group(1):
            raise InputError(Fault(f"`group:` must find a name in each path: {pattern}", received=each.name))
        found.append(Listed(each.path, each.name, each.label, each.split, match.group(1)))
    return found


def _check_classes(where: Path, found: Sequence[Listed]) -> None:
    labels = sorted({each.label for each in found})
    if len(labels) < 2:
        rule = "must hold two classes or more"
        do = "make a folder for each class, with the files of the class inside"
        raise InputError(Fault(rule, where=str(where), received=", ".join(labels) or "none", do=do))


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(child for child in folder.iterdir() if _shown(child))
    except OSError as error:
        raise InputError(Fault("the data folder can't be read", str(folder), received=error.strerror or "")) from None


def _walk(folder: Path) -> Iterator[Path]:
    """Yield all files below a folder, ordered by name. Links to folders are not followed: they can be circles."""
    for child in _children(folder):
        if child.is_dir() and not child.is_symlink():
            yield from _walk(child)
        else:
            yield child


def _shown(path: Path) -> bool:
    return not path.name.startswith(".") and path.name.lower() not in _OF_SYSTEMS


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
