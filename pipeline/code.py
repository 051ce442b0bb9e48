"""Digest of the code that a part of the pipeline runs, so that a cache key changes when its code does.

The code is the module and everything of this package that it imports, at any depth, inside functions too. It is read
as a syntax tree without docstrings: comments, docstrings and layout do not count. Nothing is imported or run.
"""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_PACKAGE = __package__ or "pipeline"
_ROOT = Path(__file__).parent


@cache
def digest(module: str) -> str:
    """sha256 over the import closure of a module of this package, named as ``pipeline.stages.train``."""
    total = hashlib.sha256()
    for name in sorted(closure(module)):
        total.update(f"{name}\0{_tree(name)}\0".encode())
    return total.hexdigest()


def closure(module: str) -> set[str]:
    """The module and all modules of this package that it imports, directly or through others."""
    seen: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        if name not in seen:
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


@cache
def _parse(module: str) -> ast.Module:
    path = _file(module)
    if path is None:
        raise ValueError(f"{module} is no module of {_PACKAGE}")
    tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:]
    return tree


@cache
def _tree(module: str) -> str:
    return ast.dump(_parse(module))


@cache
def _imports(module: str) -> tuple[str, ...]:
    return tuple(_imported(module))


def _imported(module: str) -> Iterator[str]:
    for node in ast.walk(_parse(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if _file(alias.name))
        elif isinstance(node, ast.ImportFrom) and node.module and _file(node.module):
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name for name in inner if _file(name))
            if not all(_file(name) for name in inner):  # a name of the package itself
                yield node.module
