"""Digest of the code that a part of the pipeline runs, so that a cache key changes when its code does.

The code is the module and everything of this package that it imports, at any depth, inside functions too, but not for
type checkers alone. It is read as a syntax tree without docstrings: comments, docstrings and layout do not count.
Nothing is imported or run.
"""

import ast
import contextlib
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pipeline

# What decides no result: how errors and figures are written, how processes start, where results are kept; and the names
# and titles of metrics, because a new row changes none that is there.
NEUTRAL = ("pipeline.core.", "pipeline.verify.scoring.metrics.")

_ROOT = Path(pipeline.__file__).parent
_PACKAGE = pipeline.__name__


@cache
def digest(module: str) -> str:
    """sha256 over the import closure of a module of this package, named as ``pipeline.stages.train``."""
    total = hashlib.sha256()
    for name in sorted(closure(module)):
        total.update(f"{name}\0{_source(name).digest}\0".encode())
    _save()
    return total.hexdigest()


def closure(module: str) -> set[str]:
    """The module and all modules of this package that it imports, directly or through others, but for NEUTRAL ones."""
    seen: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        if name not in seen and not f"{name}.".startswith(NEUTRAL):
            seen.add(name)
            todo += _imports(name)
    return seen


@cache
def _file(module: str) -> Path | None:
    """The module's source file; None for what is no module of this package (a function, say)."""
    if module.split(".")[0] != _PACKAGE:
        return None
    path = _ROOT.joinpath(*module.split(".")[1:])
    for candidate in (path.with_suffix(".py") if path != _ROOT else path / "__init__.py", path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


class _Parsed(NamedTuple):
    """What matters of a module: the digest of its syntax tree, and its imports as (module, names)."""

    digest: str
    imports: tuple[tuple[str, tuple[str, ...]], ...]


@cache
def _source(module: str) -> _Parsed:
    path = _file(module)
    if path is None:
        raise ValueError(f"{module} is no module of {_PACKAGE}")
    content = path.read_bytes()
    return _remembered(hashlib.sha256(content).hexdigest(), content)


def _read(content: bytes) -> _Parsed:
    tree = ast.parse(content)
    imports = tuple(_imported(tree))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            node.body = [statement for statement in node.body if not _is_docstring(statement)]
        elif isinstance(node, ast.Call):  # of pydantic's Field
            node.keywords = [keyword for keyword in node.keywords if keyword.arg != "description"]
    return _Parsed(hashlib.sha256(ast.dump(tree).encode()).hexdigest(), imports)


def _is_docstring(statement: ast.stmt) -> bool:
    """Whether a statement is a string that stands alone: of a module, class or function, or of the setting above it."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _imported(tree: ast.Module) -> Iterator[tuple[str, tuple[str, ...]]]:
    for node in _run(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, tuple(alias.name for alias in node.names)


def _run(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below, without those in `if TYPE_CHECKING:`."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING"):
            yield child
            yield from _run(child)


@cache
def _imports(module: str) -> tuple[str, ...]:
    return tuple(name for imported, names in _source(module).imports for name in _modules(imported, names))


def _modules(module: str, names: tuple[str, ...]) -> Iterator[str]:
    """The modules of this package that ``from module import names`` reads."""
    if _file(module):
        inner = [f"{module}.{name}" for name in names]
        yield from (name for name in inner if _file(name))
        if not inner or not all(_file(name) for name in inner):  # a name of the package itself
            yield module


# Reading fifty syntax trees takes 0.3 s, a fifth of a run that finds all in the store, so what was read is remembered
# in the user's cache by the content of the file: nothing there can be out of date, and all of it can be lost.


@cache
def _memory() -> dict[str, list[Any]]:
    with contextlib.suppress(OSError, ValueError):
        memory = json.loads(_memory_file().read_text(encoding="utf-8"))
        if isinstance(memory, dict) and len(memory) < 5000:
            return memory
    return {}


@cache
def _memory_file() -> Path:
    import platformdirs

    return platformdirs.user_cache_path("edgepipe") / f"code-3-{sys.version_info[0]}.{sys.version_info[1]}.json"


def _remembered(key: str, content: bytes) -> _Parsed:
    memory = _memory()
    try:
        found, imports = memory[key]
        return _Parsed(str(found), tuple((str(name), tuple(map(str, names))) for name, names in imports))
    except (KeyError, ValueError, TypeError):
        source = _read(content)
        memory[key] = [source.digest, source.imports]
        _unsaved.append(key)
        return source


_unsaved: list[str] = []


def _save() -> None:
    """Write what was newly read, in one rename; a cache that can't be written costs time and nothing else."""
    if not _unsaved:
        return
    _unsaved.clear()
    path = _memory_file()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", dir=path.parent, prefix=path.name, delete=False, encoding="utf-8"
        ) as file:
            json.dump(_memory(), file)
        Path(file.name).replace(path)
